"""The service: who is asked for, what is refused with which status, and how many sessions there may be."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

import grpc
from alpasim_grpc import API_VERSION_MESSAGE
from alpasim_grpc.v0 import common_pb2, egodriver_pb2_grpc

from alpamayo_ros.simulation.alpasim import answers, incoming
from alpamayo_ros.simulation.alpasim.session import EPOCHS, Session, Setup
from alpamayo_ros.types import EngineFailure, InvalidInput, StaleInput

QUIET_S = 600.0
"""A session that was not heard of for so long is closed when its place is needed: its simulator died without a word."""

MAX_DETAILS = 1000  # characters of a status: they travel in a header, of 8 KiB at most by default


class Refused(Exception):
    """A call that is refused with a status of gRPC's."""

    def __init__(self, code: grpc.StatusCode, why: str) -> None:
        super().__init__(why)
        self.code = code


def _telling(handle: Callable[[Any, Any], Any]) -> Callable[[Any, Any, Any], Any]:
    """A handler that answers with a status what is refused."""

    @wraps(handle)
    def told(service: EgodriverService, request: Any, context: Any) -> Any:
        try:
            return handle(service, request)
        except Refused as error:
            code, why = error.code, str(error)
        except InvalidInput as error:
            code, why = grpc.StatusCode.INVALID_ARGUMENT, str(error)
        except StaleInput as error:
            code, why = grpc.StatusCode.FAILED_PRECONDITION, str(error)
        except EngineFailure as error:
            code, why = grpc.StatusCode.INTERNAL, str(error)
        service.count("refused")
        return context.abort(code, why[:MAX_DETAILS])  # raises

    return told


class EgodriverService(egodriver_pb2_grpc.EgodriverServiceServicer):  # type: ignore[misc]  # untyped, and may be absent
    """`egodriver.EgodriverService` of NVlabs/alpasim. Sessions wait for each other only for the engine.

    Statuses: NOT_FOUND and ALREADY_EXISTS for sessions; RESOURCE_EXHAUSTED for one too many; INVALID_ARGUMENT for what cannot
    be believed; FAILED_PRECONDITION for what is missing, with the numbers; INTERNAL when the engine has no answer; ABORTED for
    a drive while the session is being driven. The recording's ground truth is accepted and thrown away unread: no plan
    depends on it.
    """

    def __init__(self, setup: Setup, version: str, max_sessions: int) -> None:
        self.counts = {"sessions": 0, "drives": 0, "plans": 0, "refused": 0}
        self._setup, self._version, self._max = setup, version, max_sessions
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()

    def count(self, what: str) -> None:
        """One more of `counts`."""
        with self._lock:
            self.counts[what] += 1

    @_telling
    def start_session(self, request: Any) -> Any:
        """A session for a vehicle that has every camera which the profile requires."""
        incoming.check_cameras(
            [camera.logical_id for camera in request.rollout_spec.vehicle.available_cameras], self._setup.profile
        )
        uuid = request.session_uuid
        if not uuid:
            raise InvalidInput("session_uuid is empty")
        with self._lock:
            if uuid in self._sessions:
                raise Refused(grpc.StatusCode.ALREADY_EXISTS, f"session {uuid[:80]!r} is there already")
            self._make_room()
            self.counts["sessions"] += 1
            self._sessions[uuid] = Session(self._setup, request.random_seed, self.counts["sessions"])
        return common_pb2.SessionRequestStatus()

    @_telling
    def close_session(self, request: Any) -> Any:
        """Forget a session and all that it held."""
        with self._lock:
            if request.session_uuid not in self._sessions:
                raise _unknown(request.session_uuid)
            self._forget(request.session_uuid)
        return common_pb2.Empty()

    @_telling
    def submit_image_observation(self, request: Any) -> Any:
        """See `Session.take_image`."""
        self._session(request).take_image(request.camera_image)
        return common_pb2.Empty()

    @_telling
    def submit_egomotion_observation(self, request: Any) -> Any:
        """See `Session.take_egomotion`."""
        self._session(request).take_egomotion(request.trajectory, request.dynamic_states)
        return common_pb2.Empty()

    @_telling
    def submit_route(self, request: Any) -> Any:
        """See `Session.take_route`."""
        self._session(request).take_route(request.route)
        return common_pb2.Empty()

    @_telling
    def submit_recording_ground_truth(self, request: Any) -> Any:
        """Accepted and thrown away unread."""
        self._session(request)
        return common_pb2.Empty()

    @_telling
    def drive(self, request: Any) -> Any:
        """See `Session.drive`. `time_query_us` and `renderer_data` change nothing: a plan covers the 6.4 s after its t0."""
        session = self._session(request)
        if not session.driving.acquire(blocking=False):
            raise Refused(grpc.StatusCode.ABORTED, f"session {request.session_uuid[:80]!r} is being driven")
        try:
            self.count("drives")
            driven = session.drive(request.time_now_us)
        finally:
            session.driving.release()
        if driven.planned is not None:
            self.count("plans")
        return answers.response(driven)

    @_telling
    def get_version(self, request: Any) -> Any:  # noqa: ARG002 - empty
        """Package and bundle, and the version of AlpaSim's messages that are installed here."""
        return common_pb2.VersionId(version_id=self._version, git_hash="unknown", grpc_api_version=API_VERSION_MESSAGE)

    def _session(self, request: Any) -> Session:
        with self._lock:
            session = self._sessions.get(request.session_uuid)
        if session is None:
            raise _unknown(request.session_uuid)
        session.heard_s = time.monotonic()
        return session

    def _make_room(self) -> None:
        """Close the session that has been quiet the longest where there is no place for another. Raises Refused."""
        if len(self._sessions) < self._max:
            return
        uuid, session = min(self._sessions.items(), key=lambda item: item[1].heard_s)
        quiet_s = time.monotonic() - session.heard_s
        if quiet_s < QUIET_S:
            raise Refused(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{self._max} sessions, limit {self._max}; the quietest was heard {quiet_s:.0f} s ago, limit {QUIET_S:.0f}",
            )
        self._forget(uuid)

    def _forget(self, uuid: str) -> None:
        self._sessions.pop(uuid).close()
        next_epoch = (self.counts["sessions"] + 1) * EPOCHS
        self._setup.engine.forget(min((session.first_epoch for session in self._sessions.values()), default=next_epoch))


def _unknown(uuid: str) -> Refused:
    return Refused(grpc.StatusCode.NOT_FOUND, f"no session {uuid[:80]!r}")
