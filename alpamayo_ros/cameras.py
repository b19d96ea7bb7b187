"""Camera models: points in the optical frame (x right, y down, z forward) to pixels, and pixels back to rays.

Pixel (0, 0) is the centre of the top left pixel, as in OpenCV and ROS, so an image spans [-0.5, width - 0.5]. A point is
visible when the lens can see its direction and its pixel lies in the image; the pixel of any other point is finite and
means nothing. A pixel that no direction reaches is unprojected to the steepest direction of the lens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import NDArray

from alpamayo_ros.geometry import rotation_from_rpy, transform
from alpamayo_ros.profile import Mount, RigCamera
from alpamayo_ros.types import F64, InvalidInput

Bools = NDArray[np.bool_]
Curve = Callable[[F64], F64]

MAX_TANGENT = 1e4
"""Largest x/z or y/z of a pinhole: 89.99 degrees off the axis. Beyond, rounding decides the pixel."""

MAX_STEPS = 100
"""Enough for bisection alone to reach the last bit; Newton's method needs about six."""

FORWARD_FROM_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""x forward, y left, z up (REP-103) from x right, y down, z forward."""


@dataclass(frozen=True)
class Pinhole:
    """A perspective lens with OpenCV's distortion: "plumb_bob" (5 coefficients) and "rational_polynomial" (8) of ROS.

    With s = x^2 + y^2 of the normalised point, the radial factor is
    (1 + k1 s + k2 s^2 + k3 s^3) / (1 + k4 s + k5 s^2 + k6 s^3). Raises InvalidInput for what cannot be a camera.
    """

    fx: float  # px
    fy: float  # px
    cx: float  # px
    cy: float  # px
    width: int  # px
    height: int  # px
    distortion: tuple[float, ...] = ()  # k1, k2, p1, p2[, k3[, k4, k5, k6]]; empty is none

    def __post_init__(self) -> None:
        _check_sensor(self.width, self.height, self.fx, self.fy, self.cx, self.cy, *self.distortion)
        if len(self.distortion) not in (0, 4, 5, 8):
            raise InvalidInput(f"pinhole: want 0, 4, 5 or 8 distortion coefficients, got {len(self.distortion)}")

    def project(self, xyz_optical: NDArray[Any]) -> tuple[F64, Bools]:
        """Points (N, 3) m, optical frame -> pixels (N, 2) and whether each is visible (N,)."""
        xyz = _placed(xyz_optical)
        tangent = np.hypot(xyz[:, 0], xyz[:, 1])
        seen = (xyz[:, 2] > 0) & (tangent <= self.max_tangent * xyz[:, 2])
        xyz = np.where(seen[:, None], xyz, (0.0, 0.0, 1.0))
        uv = self._distorted(xyz[:, :2] / xyz[:, 2:]) * (self.fx, self.fy) + (self.cx, self.cy)
        return uv, seen & _inside(uv, self.width, self.height)

    def unproject(self, uv: NDArray[Any]) -> F64:
        """Pixels (N, 2) -> unit rays (N, 3), optical frame."""
        distorted = (np.asarray(uv, dtype=np.float64) - (self.cx, self.cy)) / (self.fx, self.fy)
        xy = self._undistorted(distorted) if any(self.distortion) else distorted
        rays = np.column_stack([xy, np.ones(len(xy))])
        return _unit(rays)

    @cached_property
    def max_tangent(self) -> float:
        """Distance from the axis on the plane z = 1 where the radial curve stops rising, or has a pole: the image's end."""
        numerator, denominator = self._radial
        s = Polynomial([0.0, 1.0])
        bend = numerator.deriv() * denominator - numerator * denominator.deriv()
        slope = numerator * denominator + 2 * s * bend  # d/dr of r N(s) / D(s), times D^2
        fold, pole = np.sqrt([_first_root(slope), _first_root(denominator)])
        return float(min(MAX_TANGENT, fold, 0.999 * pole))  # at the pole itself the radius is infinite

    @cached_property
    def _radial(self) -> tuple[Polynomial, Polynomial]:
        k1, k2, _, _, k3, k4, k5, k6 = self._coefficients
        return Polynomial([1.0, k1, k2, k3]), Polynomial([1.0, k4, k5, k6])

    @property
    def _coefficients(self) -> tuple[float, ...]:
        return self.distortion + (0.0,) * (8 - len(self.distortion))

    def _factor(self, s: F64) -> tuple[F64, F64]:
        """The radial factor N / D at s = r^2 and its derivative by s."""
        numerator, denominator = self._radial
        n, d = numerator(s), denominator(s)
        return n / d, (numerator.deriv()(s) * d - n * denominator.deriv()(s)) / (d * d)

    def _distorted(self, xy: F64) -> F64:
        _, _, p1, p2, *_ = self._coefficients
        x, y = xy.T
        s = x * x + y * y
        tangential = np.column_stack([2 * p1 * x * y + p2 * (s + 2 * x * x), p1 * (s + 2 * y * y) + 2 * p2 * x * y])
        distorted: F64 = xy * self._factor(s)[0][:, None] + tangential
        return distorted

    def _undistorted(self, distorted: F64) -> F64:
        """Inverse of `_distorted`: exact along the radius, then Newton in the plane for the small tangential part."""
        _, _, p1, p2, *_ = self._coefficients
        wanted = np.hypot(*distorted.T)
        radius = _solve_rising(self._radius, self._radius_slope, wanted, self.max_tangent)
        # Where no direction reaches the pixel there is nothing to refine: the radius stays at the fold.
        reached = wanted < self._radius(np.array([self.max_tangent]))[0]
        xy = distorted * (radius / np.where(wanted > 0, wanted, 1.0))[:, None]
        for _ in range(10):
            x, y = xy.T
            factor, bend = self._factor(x * x + y * y)
            j00, j11 = factor + 2 * x * x * bend + 2 * p1 * y + 6 * p2 * x, factor + 2 * y * y * bend + 6 * p1 * y + 2 * p2 * x
            j01 = 2 * x * y * bend + 2 * p1 * x + 2 * p2 * y
            e0, e1 = (self._distorted(xy) - distorted).T
            determinant = j00 * j11 - j01 * j01
            usable = reached & (np.abs(determinant) > 1e-9)
            step = np.column_stack([j11 * e0 - j01 * e1, j00 * e1 - j01 * e0]) / np.where(usable, determinant, np.inf)[:, None]
            xy = xy - step
            if np.abs(step).max(initial=0.0) < 1e-14:
                break
        return xy

    def _radius(self, r: F64) -> F64:
        return r * self._factor(r * r)[0]

    def _radius_slope(self, r: F64) -> F64:
        factor, bend = self._factor(r * r)
        return factor + 2 * r * r * bend


@dataclass(frozen=True)
class Fisheye:
    """Kannala and Brandt (2006) with four coefficients: "equidistant" of ROS, cv2.fisheye of OpenCV.

    A ray at angle a off the axis lands at the focal length times a (1 + k1 a^2 + k2 a^4 + k3 a^6 + k4 a^8).
    Raises InvalidInput for what cannot be a camera.
    """

    fx: float  # px/rad
    fy: float  # px/rad
    cx: float  # px
    cy: float  # px
    width: int  # px
    height: int  # px
    distortion: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)  # k1, k2, k3, k4

    def __post_init__(self) -> None:
        _check_sensor(self.width, self.height, self.fx, self.fy, self.cx, self.cy, *self.distortion)
        if len(self.distortion) != 4:
            raise InvalidInput(f"fisheye: want 4 distortion coefficients, got {len(self.distortion)}")

    def project(self, xyz_optical: NDArray[Any]) -> tuple[F64, Bools]:
        """Points (N, 3) m, optical frame -> pixels (N, 2) and whether each is visible (N,); some may lie behind."""
        offset, seen = _project_radially(xyz_optical, self._curve, self.max_angle_rad)
        uv = offset * (self.fx, self.fy) + (self.cx, self.cy)
        return uv, seen & _inside(uv, self.width, self.height)

    def unproject(self, uv: NDArray[Any]) -> F64:
        """Pixels (N, 2) -> unit rays (N, 3), optical frame."""
        offset = (np.asarray(uv, dtype=np.float64) - (self.cx, self.cy)) / (self.fx, self.fy)
        return _unproject_radially(offset, self._curve, self.max_angle_rad)

    @cached_property
    def max_angle_rad(self) -> float:
        """Angle off the axis where the curve stops rising, at most pi."""
        return min(np.pi, _first_root(self._curve.deriv()))

    @cached_property
    def _curve(self) -> Polynomial:
        k1, k2, k3, k4 = self.distortion
        return Polynomial([0.0, 1.0, 0.0, k1, 0.0, k2, 0.0, k3, 0.0, k4])


@dataclass(frozen=True)
class FTheta:
    """A lens given by the polynomial from the angle off the axis (rad) to the distance from the centre (px).

    The model of the PhysicalAI-AV data set: its fw_poly_1, fw_poly_2, ... are `coefficients`. Raises InvalidInput for what
    cannot be a camera, and for a polynomial that does not rise up to the largest angle.
    """

    cx: float  # px
    cy: float  # px
    width: int  # px
    height: int  # px
    coefficients: tuple[float, ...]  # px/rad, px/rad^2, ...; there is no constant: angle 0 is the centre
    max_angle_rad: float  # the lens sees nothing beyond

    def __post_init__(self) -> None:
        _check_sensor(self.width, self.height, 1.0, 1.0, self.cx, self.cy, *self.coefficients)
        if not (self.coefficients and self.coefficients[0] > 0 and 0 < self.max_angle_rad <= np.pi):
            raise InvalidInput(f"f-theta: want a first coefficient > 0 and a largest angle in (0, pi], got {self}")
        if _first_root(self._curve.deriv()) < self.max_angle_rad:
            raise InvalidInput(f"f-theta: the radius does not rise up to {self.max_angle_rad:.4f} rad: {self.coefficients}")

    def project(self, xyz_optical: NDArray[Any]) -> tuple[F64, Bools]:
        """Points (N, 3) m, optical frame -> pixels (N, 2) and whether each is visible (N,); some may lie behind."""
        offset, seen = _project_radially(xyz_optical, self._curve, self.max_angle_rad)
        uv = offset + np.array([self.cx, self.cy])
        return uv, seen & _inside(uv, self.width, self.height)

    def unproject(self, uv: NDArray[Any]) -> F64:
        """Pixels (N, 2) -> unit rays (N, 3), optical frame."""
        return _unproject_radially(np.asarray(uv, dtype=np.float64) - (self.cx, self.cy), self._curve, self.max_angle_rad)

    @cached_property
    def _curve(self) -> Polynomial:
        return Polynomial([0.0, *self.coefficients])


Camera: TypeAlias = Pinhole | Fisheye | FTheta


class CameraInfo(Protocol):
    """The fields of sensor_msgs/CameraInfo that are read here; messages of rclpy and of rosbags both have them."""

    height: Any
    width: Any
    distortion_model: Any
    d: Any
    k: Any
    binning_x: Any
    binning_y: Any
    roi: Any


class InfoFields(NamedTuple):
    """What a lens is in a sensor_msgs/CameraInfo."""

    distortion_model: str
    d: tuple[float, ...]
    k: tuple[float, ...]  # 9, by rows
    width: int  # px
    height: int  # px


def info_from_camera(camera: Camera) -> InfoFields:
    """The fields from which `camera_from_info` makes this camera again.

    ROS has no name for f-theta: here "ftheta" has D = max_angle_rad, c1, c2, ... (px/rad, px/rad^2, ...) and c1 as the focal
    lengths of K. A pinhole without distortion gets the five zeros that drivers write.
    """
    if isinstance(camera, FTheta):
        model, d, focals = "ftheta", (camera.max_angle_rad, *camera.coefficients), (camera.coefficients[0],) * 2
    else:
        d, focals = camera.distortion or (0.0,) * 5, (camera.fx, camera.fy)
        pinhole = "rational_polynomial" if len(d) == 8 else "plumb_bob"
        model = "equidistant" if isinstance(camera, Fisheye) else pinhole
    k = (focals[0], 0.0, camera.cx, 0.0, focals[1], camera.cy, 0.0, 0.0, 1.0)
    return InfoFields(model, d, k, camera.width, camera.height)


def camera_from_info(info: CameraInfo) -> Camera:
    """The camera of the unrectified image that a sensor_msgs/CameraInfo describes (its K and D; for f-theta see above).

    Raises InvalidInput for another distortion model, a wrong number of coefficients, a focal length that is not positive,
    a skewed K, and for binning or a region of interest, where K is not the published image's.
    """
    k, d = np.asarray(info.k, dtype=np.float64).reshape(3, 3), tuple(float(c) for c in info.d)
    if max(info.binning_x, info.binning_y) > 1 or info.roi.x_offset or info.roi.y_offset:
        roi = (info.roi.x_offset, info.roi.y_offset)
        raise InvalidInput(f"camera info: binning {info.binning_x} x {info.binning_y} or region at {roi} is not supported")
    if k[0, 1] != 0:
        raise InvalidInput(f"camera info: K has skew {k[0, 1]}, want 0")
    sensor = (float(k[0, 0]), float(k[1, 1]), float(k[0, 2]), float(k[1, 2]), int(info.width), int(info.height))
    model = str(info.distortion_model)
    known = {"plumb_bob": (0, 4, 5), "rational_polynomial": (0, 8), "equidistant": (4,), "ftheta": range(2, 17)}
    if model not in known and (model or any(d)):
        raise InvalidInput(f"camera info: unknown distortion model {model!r}, {len(d)} coefficients; want {', '.join(known)}")
    if model in known and len(d) not in known[model]:
        raise InvalidInput(f"camera info: {model} with {len(d)} coefficients, want {', '.join(map(str, known[model]))}")
    if model == "ftheta":
        if not np.allclose(sensor[:2], d[1], rtol=1e-6, atol=0.0):
            raise InvalidInput(f"camera info: ftheta with c1 = {d[1]} px/rad in D, focal lengths {sensor[:2]} px in K")
        return FTheta(*sensor[2:], coefficients=d[1:], max_angle_rad=d[0])
    if model == "equidistant":
        return Fisheye(*sensor, distortion=(d[0], d[1], d[2], d[3]))
    return Pinhole(*sensor, distortion=d if any(d) else ())


def nominal_camera(rig_camera: RigCamera) -> Pinhole:
    """The undistorted camera with square pixels that has a rig camera's size and horizontal field of view.

    Raises InvalidInput from 180 degrees on, which no pinhole has.
    """
    hfov = rig_camera.mount.hfov_deg
    if hfov >= 180.0:
        raise InvalidInput(f"{rig_camera.topic}: a pinhole cannot have a horizontal field of view of {hfov} degrees")
    width, height = rig_camera.width, rig_camera.height
    focal = float(width / 2 / np.tan(np.radians(hfov) / 2))
    return Pinhole(focal, focal, (width - 1) / 2, (height - 1) / 2, width, height)


def resized(camera: Camera, width: int, height: int) -> Camera:
    """The camera of the same view after its whole image was resized, to pixels of another shape where need be.

    An image has whole rows: a stretch by up to half of one is let pass. Raises InvalidInput for an f-theta lens whose pixels
    would stretch by more.
    """
    across, down = width / camera.width, height / camera.height
    cx, cy = (camera.cx + 0.5) * across - 0.5, (camera.cy + 0.5) * down - 0.5
    if isinstance(camera, (Pinhole, Fisheye)):
        return replace(camera, fx=camera.fx * across, fy=camera.fy * down, cx=cx, cy=cy, width=width, height=height)
    if abs(across - down) * camera.height > 0.5 + 1e-9:
        raise InvalidInput(f"f-theta: {camera.width} x {camera.height} to {width} x {height} px would stretch the image")
    return replace(
        camera, coefficients=tuple(c * across for c in camera.coefficients), cx=cx, cy=cy, width=width, height=height
    )


def base_from_optical(mount: Mount) -> F64:
    """Pose (4, 4) of a mounted camera's optical frame in the vehicle's base frame."""
    base_from_forward = rotation_from_rpy(0.0, float(np.radians(mount.pitch_deg)), float(np.radians(mount.yaw_deg)))
    return transform(base_from_forward @ FORWARD_FROM_OPTICAL, np.array(mount.xyz_m))


def hfov_deg(camera: Camera) -> float:
    """Horizontal field of view in degrees, from edge to edge of the image along the row of the optical axis."""
    rays = camera.unproject(np.array([[-0.5, camera.cy], [camera.width - 0.5, camera.cy]]))
    return float(np.degrees(np.arctan2(np.hypot(rays[:, 0], rays[:, 1]), rays[:, 2]).sum()))


def _check_sensor(width: int, height: int, fx: float, fy: float, *others: float) -> None:
    if width < 1 or height < 1 or not (fx > 0 and fy > 0 and np.isfinite([fx, fy, *others]).all()):
        raise InvalidInput(f"camera of {width} x {height} px with focal lengths {fx}, {fy} px: want positive, finite numbers")


def _unit(rays: F64) -> F64:
    unit: F64 = rays / np.linalg.norm(rays, axis=1, keepdims=True)
    return unit


def _inside(uv: F64, width: int, height: int) -> Bools:
    inside: Bools = np.all((uv >= -0.5) & (uv <= (width - 0.5, height - 0.5)), axis=1)
    return inside


def _placed(xyz: NDArray[Any]) -> F64:
    """Points (N, 3) as float64; one with a NaN, or beyond a million km, becomes the origin, which no lens sees."""
    points = np.asarray(xyz, dtype=np.float64)
    return np.where(np.all(np.abs(points) < 1e9, axis=1, keepdims=True), points, 0.0)


def _first_root(polynomial: Polynomial) -> float:
    """Smallest positive real root of a polynomial that is positive at 0, infinity when there is none.

    Sought as the largest root in 1/x, whose leading coefficient is never close to zero.
    """
    reciprocal = Polynomial(polynomial.coef[::-1]).roots()
    largest = reciprocal.real[reciprocal.imag == 0].max(initial=0.0)
    return float(1.0 / largest) if largest > 1e-9 else np.inf


def _project_radially(xyz_optical: NDArray[Any], curve: Polynomial, max_angle_rad: float) -> tuple[F64, Bools]:
    """Offsets (N, 2) from the centre, of the length `curve(angle)`, and whether the lens sees the point (N,)."""
    xyz = _placed(xyz_optical)
    sideways = np.hypot(xyz[:, 0], xyz[:, 1])
    angle = np.arctan2(sideways, xyz[:, 2])
    # Straight behind has no direction, and neither has the origin.
    seen = (angle <= max_angle_rad) & ((sideways > 0) | (xyz[:, 2] > 0))
    direction = xyz[:, :2] / np.where(sideways > 0, sideways, 1.0)[:, None]
    return direction * curve(np.minimum(angle, max_angle_rad))[:, None], seen


def _unproject_radially(offset: F64, curve: Polynomial, max_angle_rad: float) -> F64:
    """Unit rays (N, 3) of offsets (N, 2) from the centre."""
    length = np.hypot(offset[:, 0], offset[:, 1])
    angle = _solve_rising(curve, curve.deriv(), length, max_angle_rad)
    direction = offset / np.where(length > 0, length, 1.0)[:, None]
    return np.column_stack([direction * np.sin(angle)[:, None], np.cos(angle)])


def _solve_rising(curve: Curve, slope: Curve, wanted: F64, end: float) -> F64:
    """x (N,) in [0, end] with curve(x) = wanted for a curve that rises from 0 there; `end` where it stays below.

    Newton's method, with a bisection wherever it would leave the bracket or not halve its step (Press et al., Numerical
    Recipes, rtsafe): alone it cycles on curves that bend both ways.
    """
    low, high = np.zeros_like(wanted), np.full_like(wanted, end)
    x, step = np.clip(wanted, low, high), high
    for _ in range(MAX_STEPS):
        found = step <= 1e-14 * np.maximum(x, 1e-3)
        if found.all():
            break
        error, steepness = curve(x) - wanted, slope(x)
        low, high = np.where(error <= 0, x, low), np.where(error >= 0, x, high)
        newton = x - error / np.where(steepness > 0, steepness, 1.0)
        good = (steepness > 0) & (newton >= low) & (newton <= high) & (np.abs(newton - x) <= step / 2)
        following = np.where(good, newton, (low + high) / 2)
        x, step = np.where(found, x, following), np.where(found, step, np.abs(following - x))
    solution: F64 = np.where(wanted >= curve(np.array([end]))[0], end, x)
    return solution
