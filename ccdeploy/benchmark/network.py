"""Networks in PyTorch in a benchmark."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ccdeploy.benchmark.artefact import Artefact
from ccdeploy.benchmark.record import NOT_RUN, Contestant
from ccdeploy.benchmark.settings import Settings
from ccdeploy.benchmark.subject import UNSTATED_SIZE, Subject
from ccdeploy.ccnet.cards import Card
from ccdeploy.ccnet.preprocessing import noise_batch
from ccdeploy.errors import UsageError
from ccdeploy.runners import Array, Runner

if TYPE_CHECKING:
    from ccdeploy.ccnet.loading import Model


PYTORCH = "PyTorch"
"""The contestant's name, unless it gets another."""


class Network(Subject):
    """A network in PyTorch, as it was trained, in float32."""

    def __init__(
        self,
        settings: Settings,
        *,
        model: Model | None = None,
        of: Artefact | None = None,
        weights: Path | None = None,
        device: str = "cpu",
        name: str = PYTORCH,
    ) -> None:
        """A loaded network, or the one that an artefact was exported from.

        Args:
            settings: size and batch; with `of` they are the artefact's where it fixes them.
            model: the network.
            of: the artefact whose network it is.
            weights: the checkpoint of `of`, where it is not where it lay at export.
            device: "cpu" or "cuda".
            name: unique among the contestants.

        Raises:
            UsageError: neither `model` nor `of`; a foreign artefact.
        """
        if of is not None and (of.manifest is None or of.card is None):
            raise UsageError(
                f"{of.path} was not exported by ccdeploy: no network in PyTorch is known to belong to it.",
                "Leave --pytorch out, or put an artefact of ccdeploy first.",
            )
        if (model is None) == (of is None):
            raise UsageError("A network or an artefact was expected, and not both.", "Give `model` or `of`.")
        self.settings, self.of, self.weights, self.device, self.name = settings, of, weights, device, name
        self.on_gpu = device == "cuda"
        self._model = model

    @property
    def card(self) -> Card:
        """Of the network."""
        card = self._model.card if self._model is not None else self.of.card if self.of else None
        assert card is not None  # the constructor has looked
        return card

    def model(self) -> Model:
        """The network; loaded when first asked for."""
        if self._model is None:
            from ccdeploy.reference import reference_model

            assert self.of is not None
            assert self.of.manifest is not None
            self._model = reference_model(self.of.path, self.of.manifest, self.card, self.weights)
        return self._model

    def facts(self) -> Contestant:
        """See the interface."""
        record = self.of.manifest.weights if self.of and self.of.manifest else self.model().weights
        return Contestant(
            name=self.name,
            artefact=self.card.name,
            sha256=record.sha256,
            kind="pytorch",
            precision="fp32",
            runtime="",
            device="",
            model=self.card.name,
            weights=record.sha256 or f"seed {record.seed}",
            recurrence=self.card.network.recurrence if self.card.network.has("recurrence") else 0,
            io="tensor",
            input=self._shape(self.settings.batch),
            input_type="float32 NCHW",
            threads=self.settings.threads if self.device == "cpu" else None,
            outcome=NOT_RUN,
        )

    def why_not(self) -> str:
        """See the interface."""
        if self.device == "cpu":
            return ""
        import torch

        return "" if torch.cuda.is_available() else f"PyTorch {torch.__version__} sees no CUDA GPU"

    def open(self, contexts: int = 1) -> Runner:
        """See the interface. The number of threads is PyTorch's, of the whole process."""
        import torch

        from ccdeploy.runners.pytorch import open_model

        if self.settings.threads is not None and self.device == "cpu":
            torch.set_num_threads(self.settings.threads)
        return open_model(self.model(), device=self.device)

    def inputs(self, batch: int | None = None) -> dict[str, Array]:
        """See the interface."""
        count, _, height, width = self._shape(batch or self.settings.batch)
        return {"input": noise_batch(self.card, count, height, width, self.settings.seed)}

    def fixed_batch(self) -> int | None:
        """See the interface."""
        return None

    def spec(self) -> dict[str, Any]:
        """See the interface."""
        settings = dataclasses.asdict(dataclasses.replace(self.settings, compare=None))
        spec: dict[str, Any] = {"settings": settings, "device": self.device, "name": self.name}
        if self.of is not None:
            weights = str(self.weights) if self.weights else None
            return {**spec, "of": str(self.of.path), "weights": weights}
        record = self.model().weights
        source = {"weights": record.path or None, "seed": record.seed}
        return {**spec, "card": self.card.to_dict(), "model": self.card.name, **source}

    def import_runtime(self) -> None:
        """See the interface."""
        import ccdeploy.ccnet.loading
        import ccdeploy.runners.pytorch  # noqa: F401

    def _shape(self, batch: int) -> tuple[int, int, int, int]:
        height, width = self.settings.size or self.card.input.size
        sizes = {"N": batch, "H": height or UNSTATED_SIZE, "W": width or UNSTATED_SIZE}
        if self.of is not None:
            tensor = self.of.tensors[0]
            sizes |= dict(zip(tensor.layout, self.of.shape_of(tensor, batch), strict=True))
        return sizes["N"], self.card.input.channels, sizes["H"], sizes["W"]
