"""A stand-in for `alpasim_grpc`, which is part of AlpaSim's checkout: the messages and the service that our driver needs.

Names and field numbers are those of its interface (NVlabs/alpasim@3032e0c), so that bytes written by one are read by the other.
"""

import sys
from pathlib import Path

COMMON = """
syntax = "proto3";
package common;
message Empty {}
message SessionRequestStatus {}
message Vec3 { float x = 1; float y = 2; float z = 3; }
message Quat { float w = 1; float x = 2; float y = 3; float z = 4; }
message Pose { Vec3 vec = 1; Quat quat = 2; }
message PoseAtTime { Pose pose = 1; fixed64 timestamp_us = 2; }
message Trajectory { repeated PoseAtTime poses = 1; }
message DynamicState {
  Vec3 angular_velocity = 1; Vec3 linear_velocity = 2; Vec3 linear_acceleration = 3; Vec3 angular_acceleration = 4;
}
message VersionId {
  message APIVersion { uint32 major = 1; uint32 minor = 2; uint32 patch = 3; }
  string version_id = 1; string git_hash = 2; APIVersion grpc_api_version = 3;
}
"""

SENSORSIM = """
syntax = "proto3";
package nre.grpc.protos.sensorsim;
import "alpasim_grpc/v0/common.proto";
message AvailableCamerasReturn {
  message AvailableCamera { common.Pose rig_to_camera = 2; string logical_id = 3; }
  repeated AvailableCamera available_cameras = 1;
}
"""

EGODRIVER = """
syntax = "proto3";
package egodriver;
import "alpasim_grpc/v0/common.proto";
import "alpasim_grpc/v0/sensorsim.proto";
service EgodriverService {
  rpc start_session (DriveSessionRequest) returns (common.SessionRequestStatus);
  rpc close_session (DriveSessionCloseRequest) returns (common.Empty);
  rpc submit_image_observation (RolloutCameraImage) returns (common.Empty);
  rpc submit_egomotion_observation (RolloutEgoTrajectory) returns (common.Empty);
  rpc submit_route (RouteRequest) returns (common.Empty);
  rpc submit_recording_ground_truth (GroundTruthRequest) returns (common.Empty);
  rpc drive (DriveRequest) returns (DriveResponse);
  rpc get_version (common.Empty) returns (common.VersionId);
}
message DriveSessionRequest {
  message RolloutSpec {
    message VehicleDefinition {
      repeated nre.grpc.protos.sensorsim.AvailableCamerasReturn.AvailableCamera available_cameras = 3;
    }
    VehicleDefinition vehicle = 1;
  }
  message DebugInfo { string scene_id = 1; }
  string session_uuid = 1; fixed64 random_seed = 2; optional DebugInfo debug_info = 4; RolloutSpec rollout_spec = 5;
}
message DriveSessionCloseRequest { string session_uuid = 1; }
message RolloutCameraImage {
  message CameraImage { fixed64 frame_start_us = 2; fixed64 frame_end_us = 3; bytes image_bytes = 4; string logical_id = 5; }
  string session_uuid = 1; CameraImage camera_image = 3;
}
message RolloutEgoTrajectory {
  string session_uuid = 1; common.Trajectory trajectory = 3; repeated common.DynamicState dynamic_states = 5;
}
message Route { repeated common.Vec3 waypoints = 1; fixed64 timestamp_us = 2; }
message RouteRequest { string session_uuid = 1; Route route = 3; }
message GroundTruth { common.Trajectory trajectory = 1; fixed64 timestamp_us = 2; }
message GroundTruthRequest { string session_uuid = 1; GroundTruth ground_truth = 2; }
message DriveRequest {
  string session_uuid = 1; fixed64 time_now_us = 3; fixed64 time_query_us = 4; bytes renderer_data = 5;
}
message DriveResponse {
  message DebugInfo { bytes unstructured_debug_info = 1; repeated common.Trajectory sampled_trajectories = 2; }
  common.Trajectory trajectory = 2; DebugInfo debug_info = 3; bool terminate_session = 4;
}
"""

INIT = """
from alpasim_grpc.v0.common_pb2 import VersionId
API_VERSION_MESSAGE = VersionId.APIVersion(major=0, minor=54, patch=0)
"""


def install(folder: Path) -> None:
    """Compile it into a folder, and let it be found there."""
    from grpc_tools import protoc

    here = folder / "alpasim_grpc" / "v0"
    here.mkdir(parents=True)
    (here / "__init__.py").touch()
    (here.parent / "__init__.py").write_text(INIT)
    protos = {"common": COMMON, "sensorsim": SENSORSIM, "egodriver": EGODRIVER}
    for name, text in protos.items():
        (here / f"{name}.proto").write_text(text)
    files = [f"alpasim_grpc/v0/{name}.proto" for name in protos]
    done = protoc.main(["protoc", f"-I{folder}", f"--python_out={folder}", f"--grpc_python_out={folder}", *files])
    assert done == 0
    sys.path.insert(0, str(folder))
