"""Draws one street scene and the class of each of its pixels, from a random generator alone.

A camera stands on a road that runs to a vanishing point: sky, a skyline and facades, the road, sidewalks with trees,
cars, people, and masts. Colours, light, texture and shapes vary so that no colour tells a class.

The masts are what criss-cross attention is for. Each carries a lamp or a traffic light, at its top or at the far end
of an arm; shafts and arms look the same for both and differ in class. What a shaft belongs to is seen a long way up,
and with an arm then a long way across: one or two passes along columns and rows, further than a convolution looks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from ccdeploy.ccnet.preprocessing import Pictures

SKY, BUILDING, ROAD, SIDEWALK, VEGETATION, CAR, PERSON, LAMP, SIGNAL = range(9)
"""The classes, in the order of `models/datasets/streets.toml`."""

Point = tuple[float, float]
Colour = tuple[int, int, int]
Floats = npt.NDArray[np.float32]

_GRAIN = np.array([0.03, 0.10, 0.08, 0.10, 0.34, 0.05, 0.12, 0.05, 0.05], np.float32)
"""Contrast of each class's texture, relative to its colour."""
_COARSENESS = np.array([1.0, 0.3, 0.1, 0.2, 0.5, 0.3, 0.5, 0.3, 0.3], np.float32)
"""Share of a texture that is cloudy; the rest is fine."""


def draw_scene(random: np.random.Generator, height: int, width: int) -> tuple[Pictures, npt.NDArray[np.uint8]]:
    """A picture uint8 RGB [height, width, 3] and its labels uint8 [height, width]."""
    scene = _Scene(random, height, width)
    scene.sky()
    scene.buildings()
    scene.ground()
    scene.trees()
    scene.traffic()
    scene.masts()
    return scene.finished()


class _Scene:
    """A picture and its labels, painted over in the order of distance. Lengths are in units of 1/256 of the height."""

    def __init__(self, random: np.random.Generator, height: int, width: int) -> None:
        self.random, self.height, self.width = random, height, width
        self.unit = height / 256
        self.columns = width / self.unit
        self.horizon = random.uniform(96, 128)
        self.vanishing = self.columns * random.uniform(0.42, 0.58)
        self.road_left = self.columns * random.uniform(-0.15, 0.12)
        self.road_right = self.columns * random.uniform(0.88, 1.15)
        self.walk = self.columns * random.uniform(0.35, 0.6)
        """Width of a sidewalk at the bottom of the picture."""
        self._picture = Image.new("RGB", (width, height))
        self._labels = Image.new("L", (width, height))
        self._paint, self._mark = ImageDraw.Draw(self._picture), ImageDraw.Draw(self._labels)

    # What is in the picture, from far to near.

    def sky(self) -> None:
        top, bottom = self._colour((90, 150), (120, 190), (170, 240)), self._colour((170, 235), (180, 235), (190, 245))
        rows = 24
        for row in range(rows):
            share = row / (rows - 1)
            colour = tuple(round(a + (b - a) * share) for a, b in zip(top, bottom, strict=True))
            edges = [self.horizon * 1.1 * row / rows, self.horizon * 1.1 * (row + 1) / rows]
            self._box(0, edges[0], self.columns, edges[1] + 1, colour, SKY)

    def buildings(self) -> None:
        left = -self.random.uniform(0, 40)
        while left < self.columns:
            breadth = self.random.uniform(36, 90)
            distance = abs(left + breadth / 2 - self.vanishing) / (self.columns / 2)
            tall = self.random.uniform(12, 40) + 75 * distance * self.random.uniform(0.5, 1)
            if self.random.random() < 0.88:
                self._facade(left, self.horizon - tall, left + breadth)
            left += breadth + (self.random.uniform(4, 30) if self.random.random() < 0.3 else 0)

    def ground(self) -> None:
        grass = self._colour((60, 120), (95, 155), (35, 80))
        self._box(0, self.horizon, self.columns, 256, grass, VEGETATION)
        bottom, apex = 256.0, (self.vanishing, self.horizon)
        paving = self._grey(120, 200, tint=14)
        outer = [apex, (self.road_right + self.walk, bottom), (self.road_left - self.walk, bottom)]
        self._polygon(outer, paving, SIDEWALK)
        asphalt = self._grey(55, 125, tint=8)
        self._polygon([apex, (self.road_right, bottom), (self.road_left, bottom)], asphalt, ROAD)
        paint = self._grey(200, 245, tint=10)
        lanes = int(self.random.integers(2, 5))
        for lane in range(1, lanes):
            foot = self.road_left + (self.road_right - self.road_left) * lane / lanes
            for start in np.arange(0.08, 1, 0.16):  # dashes, as shares of the way from the horizon to the camera
                ends = [start**1.6, min(1.0, start + 0.07) ** 1.6]
                corners = [(self._on_road(foot, s, side * 4), self._row(s)) for s in ends for side in (-1, 1)]
                self._polygon([corners[0], corners[1], corners[3], corners[2]], paint, ROAD)

    def trees(self) -> None:
        for depth in np.sort(self.random.uniform(0.1, 0.5, int(self.random.integers(2, 6)))):
            side = self.random.choice([-1, 1])
            foot = self.road_left - self.walk * 1.2 if side < 0 else self.road_right + self.walk * 1.2
            x, y = self._on_road(foot, depth, 0), self._row(depth)
            tall = 210 * depth * self.random.uniform(0.7, 1.1) + 20
            leaves = self._colour((35, 95), (75, 145), (20, 75))
            trunk = self._colour((60, 100), (45, 75), (30, 55))
            breadth = tall * self.random.uniform(0.25, 0.4)
            self._box(x - tall * 0.045, y - tall * 0.5, x + tall * 0.045, y, trunk, VEGETATION)
            for _ in range(7):
                dx, dy = self.random.normal(0, 0.45, 2)
                radius = breadth * self.random.uniform(0.4, 0.7)
                self._ellipse(
                    x + dx * breadth, y - tall * 0.72 + dy * breadth * 0.8, radius, radius, leaves, VEGETATION
                )

    def traffic(self) -> None:
        things = [(depth, CAR) for depth in self.random.uniform(0.12, 0.7, int(self.random.integers(2, 5)))]
        things += [(depth, PERSON) for depth in self.random.uniform(0.2, 0.75, int(self.random.integers(3, 7)))]
        for depth, kind in sorted(things):
            if kind == CAR:
                self._car(float(depth))
            else:
                self._person(float(depth))

    def masts(self) -> None:
        """Masts of both kinds on both sides; the outer ones are nearer, taller, and reach over the inner ones."""
        for side in (-1, 1):
            count = int(self.random.integers(1, 3))
            reach = self.columns * 0.46
            top, place = self.random.uniform(14, 34), self.random.uniform(0.03, 0.10)
            for _ in range(count):
                kind = LAMP if self.random.random() < 0.5 else SIGNAL
                x = self.columns * (place if side < 0 else 1 - place)
                room = reach - self.columns * place
                arm = self.random.uniform(0.6, 0.95) if self.random.random() < 0.6 else 0
                self._mast(x, top, -side * room * arm, kind)
                top += self.random.uniform(44, 58)
                place += self.random.uniform(0.09, 0.16)

    # Things.

    def _facade(self, left: float, top: float, right: float) -> None:
        wall = self._grey(85, 215, tint=34)
        self._box(left, top, right, self.horizon + 6, wall, BUILDING)
        pane: Colour = tuple(round(c * self.random.uniform(0.35, 0.75)) for c in wall)  # type: ignore[assignment]
        across, down = self.random.uniform(7, 13), self.random.uniform(9, 15)
        for row in np.arange(top + 5, self.horizon - 6, down):
            for column in np.arange(left + 4, right - across * 0.6, across):
                self._box(column, row, column + across * 0.5, row + down * 0.5, pane, BUILDING)

    def _car(self, depth: float) -> None:
        foot = self.random.uniform(self.road_left * 0.6, self.road_right * 0.85)
        x, y, size = self._on_road(foot, depth, 0), self._row(depth), 150 * depth + 14
        paint = self._colour((25, 235), (25, 235), (25, 235))
        glass, tyre = self._grey(30, 80, tint=10), self._grey(15, 40, tint=4)
        half, tall = size * 0.5, size * 0.55
        cabin = [(x - half * 0.6, y - tall), (x + half * 0.6, y - tall), (x + half * 0.85, y - tall * 0.5)]
        self._polygon([*cabin, (x - half * 0.85, y - tall * 0.5)], glass, CAR)
        self._box(x - half, y - tall * 0.6, x + half, y - tall * 0.12, paint, CAR)
        for wheel in (-0.62, 0.62):
            self._ellipse(x + wheel * half, y - tall * 0.12, size * 0.11, size * 0.11, tyre, CAR)
        light = (230, 60, 50) if self.random.random() < 0.5 else (250, 245, 210)
        for end in (-0.85, 0.85):
            self._ellipse(x + end * half, y - tall * 0.42, size * 0.05, size * 0.04, light, CAR)

    def _person(self, depth: float) -> None:
        if self.random.random() < 0.75:
            edge = self.random.uniform(0.15, 0.9) * self.walk
            foot = self.road_left - edge if self.random.random() < 0.5 else self.road_right + edge
        else:
            foot = self.random.uniform(self.road_left * 0.7, self.road_right * 0.9)
        x = min(max(self._on_road(foot, depth, 0), 12), self.columns - 12)
        y, tall = self._row(depth), 120 * depth + 16
        coat, legs = self._colour((20, 230), (20, 230), (20, 230)), self._colour((20, 120), (20, 120), (20, 140))
        skin = self._colour((120, 235), (85, 190), (60, 160))
        half = tall * self.random.uniform(0.15, 0.19)
        for side in (-1, 1):
            stride = side * half * self.random.uniform(0.4, 0.7)
            self._line([(x + side * half * 0.35, y - tall * 0.5), (x + stride, y)], tall * 0.12, legs, PERSON)
        self._polygon(
            [
                (x - half, y - tall * 0.82),
                (x + half, y - tall * 0.82),
                (x + half * 0.8, y - tall * 0.42),
                (x - half * 0.8, y - tall * 0.42),
            ],
            coat,
            PERSON,
        )
        self._ellipse(x, y - tall * 0.9, tall * 0.09, tall * 0.11, skin, PERSON)

    def _mast(self, x: float, top: float, reach: float, kind: int) -> None:
        """A shaft at x from the ground to `top`, an arm of signed length `reach` or 0, and what is at its end."""
        foot = self.random.uniform(205, 250)
        thick = self.random.uniform(9, 13)
        steel = self._grey(35, 190, tint=12)
        self._box(x - thick / 2, top - thick / 2, x + thick / 2, foot, steel, kind)
        end = x + reach
        self._box(min(x, end), top - thick / 2, max(x, end), top + thick / 2, steel, kind)
        if kind == LAMP:
            glow = self._colour((240, 255), (215, 250), (120, 200))
            self._ellipse(end, top + 6, 17, 10, steel, kind)
            self._ellipse(end, top + 9, 13, 7, glow, kind)
            return
        self._box(end - 9, top - 6, end + 9, top + 32, self._grey(15, 50, tint=6), kind)
        lit = int(self.random.integers(3))
        for number, colour in enumerate([(240, 40, 30), (250, 190, 30), (40, 220, 90)]):
            shown: Colour = colour if number == lit else tuple(c // 4 for c in colour)  # type: ignore[assignment]
            self._ellipse(end, top + 1 + 12 * number, 5, 5, shown, kind)

    # Places and colours.

    def _row(self, depth: float) -> float:
        """The row of the ground at a share (0 to 1) of the way from the horizon to the bottom."""
        return self.horizon + (256 - self.horizon) * depth

    def _on_road(self, foot: float, depth: float, aside: float) -> float:
        """The column, at a depth, of the line from the vanishing point to `foot` at the bottom."""
        return self.vanishing + (foot + aside - self.vanishing) * depth

    def _colour(self, red: tuple[int, int], green: tuple[int, int], blue: tuple[int, int]) -> Colour:
        return tuple(int(self.random.integers(low, high + 1)) for low, high in (red, green, blue))  # type: ignore[return-value]

    def _grey(self, low: int, high: int, tint: int) -> Colour:
        level = int(self.random.integers(low, high + 1))
        shifts = self.random.integers(-tint, tint + 1, 3)
        return tuple(int(np.clip(level + shift, 0, 255)) for shift in shifts)  # type: ignore[return-value]

    # Shapes: each is painted into the picture and marked in the labels.

    def _box(self, left: float, top: float, right: float, bottom: float, colour: Sequence[int], kind: int) -> None:
        self._polygon([(left, top), (right, top), (right, bottom), (left, bottom)], colour, kind)

    def _polygon(self, corners: Sequence[Point], colour: Sequence[int], kind: int) -> None:
        scaled = [(x * self.unit, y * self.unit) for x, y in corners]
        self._paint.polygon(scaled, fill=tuple(colour))
        self._mark.polygon(scaled, fill=kind)

    def _ellipse(self, x: float, y: float, across: float, down: float, colour: Sequence[int], kind: int) -> None:
        box = [(x - across) * self.unit, (y - down) * self.unit, (x + across) * self.unit, (y + down) * self.unit]
        self._paint.ellipse(box, fill=tuple(colour))
        self._mark.ellipse(box, fill=kind)

    def _line(self, ends: Sequence[Point], thick: float, colour: Sequence[int], kind: int) -> None:
        (x0, y0), (x1, y1) = ends
        length = max(float(np.hypot(x1 - x0, y1 - y0)), 1e-6)
        dx, dy = (y1 - y0) / length * thick / 2, (x0 - x1) / length * thick / 2
        self._polygon([(x0 + dx, y0 + dy), (x1 + dx, y1 + dy), (x1 - dx, y1 - dy), (x0 - dx, y0 - dy)], colour, kind)

    # Light and texture.

    def finished(self) -> tuple[Pictures, npt.NDArray[np.uint8]]:
        """The picture under a light of its own, textured by class, with the noise of a sensor; and the labels."""
        labels = np.array(self._labels)
        values = np.asarray(self._picture, np.float32)
        fine = self.random.standard_normal((self.height, self.width), dtype=np.float32)
        cloudy = self._clouds(10) + self._clouds(28)
        share = _COARSENESS[labels]
        texture = _GRAIN[labels] * (share * cloudy + (1 - share) * fine)
        slope = np.linspace(-1, 1, self.width, dtype=np.float32) * self.random.uniform(-0.2, 0.2)
        light = self.random.uniform(0.7, 1.15) * (1 + slope)[None, :] * (1 + texture)
        cast = self.random.uniform(0.92, 1.08, 3).astype(np.float32)
        noise = self.random.standard_normal(values.shape, dtype=np.float32) * self.random.uniform(2, 6)
        pictures: Pictures = np.clip(values * light[..., None] * cast + noise, 0, 255).astype(np.uint8)
        return pictures, labels

    def _clouds(self, cell: float) -> Floats:
        """Smooth noise [height, width] of unit variance, about; `cell` is its grain."""
        rows, columns = (max(2, round(side / self.unit / cell)) for side in (self.height, self.width))
        coarse = Image.fromarray(self.random.standard_normal((rows, columns), dtype=np.float32))
        return np.asarray(coarse.resize((self.width, self.height), Image.Resampling.BICUBIC), np.float32)
