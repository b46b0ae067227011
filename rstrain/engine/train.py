"""The training loop. It knows steps, ranks, checkpoints and logs; what is learnt is the method's business."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from rstrain import distributed
from rstrain.config import TrainConfig
from rstrain.data.batch import HostBatch, mean_std
from rstrain.data.config import DataConfig
from rstrain.data.geo import geo_labels
from rstrain.data.loader import loader
from rstrain.engine import checkpoint
from rstrain.engine.clock import Clock
from rstrain.engine.folder import check_run, locked, open_run
from rstrain.engine.log import Metrics
from rstrain.engine.probe import Probe
from rstrain.engine.saved import SavedRun
from rstrain.engine.stop import StopSignals
from rstrain.engine.window import Window
from rstrain.interop.backbone import FILE, BackboneFacts, save_backbone
from rstrain.methods import RunFacts
from rstrain.methods.base import Batch, Method, StepOutput
from rstrain.models.backbone import Backbone, build_backbone
from rstrain.optim.optimizers import build_optimizer, set_lr
from shards.console import progress, say
from shards.errors import ConfigError, UserError
from shards.index import Index
from shards.random import address, stream

_TORCH = stream("engine/torch")


class TrainingError(UserError):
    """A run that must not go on."""


@dataclass(frozen=True)
class TrainReport:
    """How a call of `pretrain` ended."""

    run: str
    steps: int
    """Done so far."""
    total: int
    finished: bool
    loss: float | None
    samples_per_s: float | None

    def summary(self) -> str:
        """Two lines for people: what happened, what to do next."""
        if not self.finished:
            return f"stopped at step {self.steps} of {self.total}; a checkpoint is kept: run the same command to go on"
        loss = "" if self.loss is None else f", loss {self.loss:.4f}"
        speed = "" if self.samples_per_s is None else f", {self.samples_per_s:,.0f} images/s"
        return (
            f"{self.run}: {self.total} steps done{loss}{speed}\n"
            f"next: rstrain eval knn --checkpoint {self.run} --data DIR"
        )

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def pretrain(config: TrainConfig, out: Path) -> TrainReport:
    """Train, or go on where the run in `out` stopped.

    The weights are a function of the config, the data and the machine's arithmetic; interruptions, worker counts and
    the moments of checkpoints do not enter.

    Raises:
        UserError: the folder holds another run, the data changed, a checkpoint is damaged, the loss is not finite.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    with distributed.session(config.device) as world:
        return _Run(config, out, world).go()


class _Run:
    def __init__(self, config: TrainConfig, out: Path, world: distributed.World) -> None:
        self.config, self.out, self.world = config, out, world
        index = Index.open(config.data)
        split = config.split or ("train" if "train" in index.info.splits else None)
        self.index = index.where(split=split) if split else index
        self.steps = config.steps(len(self.index))
        share = self._share()
        if share % config.accumulate:
            raise ConfigError(
                f"accumulate={config.accumulate} does not divide the {share} samples of a rank: choose a divisor"
            )
        geo = geo_labels(self.index, config.clusters) if config.method.needs_geo and config.clusters else None
        self.geo = torch.from_numpy(geo.labels) if geo else None
        self.label = self._labels() if config.method.needs_label else None
        backbone = build_backbone(
            config.arch,
            len(index.info.bands),
            stem=config.stem,
            size_px=config.augment.size,
            seed=config.seed,
        )
        facts = RunFacts(
            seed=config.seed,
            batch=config.batch,
            samples=len(self.index),
            epochs=config.epochs,
            classes=len(index.info.classes) or None,
            geo_classes=geo.count if geo else None,
        )
        self.method: Method = config.method.create(backbone, facts).to(world.device)
        if config.channels_last:
            self.method = self.method.to(memory_format=torch.channels_last)
        self.method.train()
        self.optimizer = build_optimizer(config.optim, self.method)
        self.mean, self.std = mean_std(index.info, config.statistics)
        self.probe = Probe(config, index, split, self.mean, self.std)
        self.saved = SavedRun(
            config, out, world, self.method, self.optimizer, index.info.fingerprint, geo.digest if geo else ""
        )
        self.step = 0
        self.window = Window()
        self.signals = StopSignals()

    def _share(self) -> int:
        if self.config.batch % self.world.world:
            raise ConfigError(
                f"batch={self.config.batch} does not divide by {self.world.world} ranks: use a multiple of {self.world.world}"
            )
        return self.config.batch // self.world.world

    def _labels(self) -> Tensor:
        column = self.index.table["label"]
        if column.null_count:
            raise ConfigError(
                f"{self.config.method.kind} needs labels; {column.null_count} views of {self.index.store} have none"
            )
        return torch.from_numpy(column.to_numpy().astype("int64"))

    def go(self) -> TrainReport:
        check_run(self.config, self.out, self.world)
        self.step, self.window = self.saved.resume()
        with locked(self.out, self.world):
            open_run(self.config, self.out, self.world)
            return self._train(self.out)

    def _train(self, run: Path) -> TrainReport:
        model: nn.Module = self.method
        if self.config.compile:
            self.method.compile()
        if self.world.world > 1:
            device = [self.world.device.index] if self.world.device.type == "cuda" else None
            with (
                warnings.catch_warnings()
            ):  # the option's successor overwrites the buffers of ranks at the start
                warnings.simplefilter("ignore", FutureWarning)
                model = DistributedDataParallel(
                    self.method, device_ids=device, broadcast_buffers=False, gradient_as_bucket_view=True
                )
        last: dict[str, Any] = {}
        with ExitStack() as stack:
            metrics = None
            bar = None
            if self.world.is_main:
                metrics = stack.enter_context(
                    Metrics(
                        run, step=self.step, wandb_project=self.config.wandb, config=self.config.to_dict()
                    )
                )
                if 0 < self.step < self.steps:
                    say(f"going on from step {self.step} of {self.steps}")
                bar = stack.enter_context(progress("pretrain", self.steps, "steps", done=self.step))
            stack.enter_context(self.signals)
            clock = Clock(self.config.save_minutes)
            for host in self._batches():
                clock.got_batch()
                save, stop = self._one(model, host, clock)
                if (
                    self.step % self.config.log_every == 0
                    or self.step == self.steps
                    or self.probe.due(self.step)
                ):
                    record = self._record(clock)
                    if metrics is not None:
                        metrics.write(record)
                    last = record
                if bar is not None:
                    bar.advance(
                        1, f"loss {last['loss']:.3f}  {last['samples_per_s']:,.0f} images/s" if last else None
                    )
                if save or stop or self.step == self.steps:
                    self.saved.save(self.step, self.window)
                    clock.saved()
                if stop:
                    break
                clock.ask()
        finished = self.step == self.steps
        if finished:
            distributed.average_batch_norms(self.method)
            if self.world.is_main:
                self._save_backbone()
        distributed.barrier()
        return TrainReport(
            str(run), self.step, self.steps, finished, last.get("loss"), last.get("samples_per_s")
        )

    def _batches(self) -> Iterator[HostBatch]:
        config = self.config
        pairing = config.method.pairing
        data = DataConfig(
            pairs="temporal" if pairing == "temporal" else "self",
            views=1 if pairing == "single" else 2,
            workers=config.workers,
        )
        return loader(
            data,
            config.augment,
            self.index,
            batch=config.batch,
            seed=config.seed,
            start=self.step,
            stop=self.steps,
            rank=self.world.rank,
            world=self.world.world,
            device=self.world.device.type,
        )

    def _one(self, model: nn.Module, host: HostBatch, clock: Clock) -> tuple[bool, bool]:
        """One optimiser step; answers whether to save and whether to leave, the same on all ranks."""
        config = self.config
        epoch = self.step * config.batch / len(self.index)
        set_lr(self.optimizer, config.optim.lr_at(epoch, config.epochs))
        torch.manual_seed(int(address(_TORCH, config.seed, self.step, self.world.rank)) >> 1)
        self.method.before_step()
        parts = self._parts(host)
        bad = torch.zeros((), device=self.world.device)
        for number, batch in enumerate(parts):
            quiet = isinstance(model, DistributedDataParallel) and number + 1 < len(parts)
            with model.no_sync() if quiet else nullcontext():  # type: ignore[operator]
                with torch.autocast(
                    self.world.device.type, torch.bfloat16, enabled=config.precision == "bf16"
                ):
                    output: StepOutput = model(batch)
                bad = torch.maximum(bad, _not_finite(output.loss.detach()) * 2)
                (output.loss / len(parts)).backward()  # type: ignore[no-untyped-call]
            self.window.add(output, len(parts))
        bad = torch.maximum(bad, _not_finite(self._gradient_norm()))
        fault, stop, save = self._agree(bad, clock)
        if fault:
            self._give_up(host, "the loss" if fault == 2 else "a gradient")
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.method.after_step()
        self.step += 1
        return bool(save), bool(stop)

    def _gradient_norm(self) -> Tensor:
        gradients = [p.grad for p in self.method.parameters() if p.grad is not None]
        norm: Tensor = torch.stack(torch._foreach_norm(gradients)).norm()
        return norm

    def _parts(self, host: HostBatch) -> list[Batch]:
        rows = host.rows
        views = host.views(self.mean, self.std, self.world.device)
        if not self.config.channels_last:
            views = tuple(view.contiguous() for view in views)
        geo = None if self.geo is None else self.geo[rows].to(self.world.device)
        label = None if self.label is None else self.label[rows].to(self.world.device)
        size = len(rows) // self.config.accumulate
        return [
            Batch(
                views=tuple(view[at : at + size] for view in views),
                rows=rows[at : at + size],
                step=self.step,
                label=None if label is None else label[at : at + size],
                geo=None if geo is None else geo[at : at + size],
            )
            for at in range(0, len(rows), size)
        ]

    def _agree(self, bad: Tensor, clock: Clock) -> tuple[int, int, int]:
        """What all ranks do now, decided together: give up, stop, save."""
        due = self.world.is_main and clock.save_due()
        flags = torch.stack([bad, bad.new_tensor(float(self.signals.number)), bad.new_tensor(float(due))])
        if self.world.world > 1:
            dist.all_reduce(flags, op=dist.ReduceOp.MAX)
        fault, stop, save = (int(flag) for flag in flags.tolist())
        return fault, stop, save

    def _give_up(self, host: HostBatch, what: str) -> None:
        keys = self.index.keys(host.rows.numpy())
        path = self.out / f"non-finite-step-{self.step}-rank-{self.world.rank}.txt"
        path.write_text("\n".join(keys) + "\n", encoding="utf-8")
        raise TrainingError(
            f"step {self.step}: {what} is not finite; the weights were not touched by it\n"
            f"  keys of this rank's batch: {', '.join(keys[:4])}, … (all in {path})\n"
            "  Try a lower --lr, a higher --temperature or --precision fp32; the last checkpoint is in the run folder."
        )

    def _record(self, clock: Clock) -> dict[str, Any]:
        """Means since the last record, over ranks; the window starts anew."""
        values = self.window.take()
        seconds, waited, counted = clock.lap()
        record = {
            "step": self.step,
            "epoch": round(self.step * self.config.batch / len(self.index), 6),
            "loss": values.pop("loss"),
            **values,
            "lr": self.optimizer.param_groups[0]["lr"],
            "samples_per_s": round(counted * self.config.batch / seconds, 2),
            "data_wait": round(waited / seconds, 4),
        }
        if self.probe.due(self.step):
            distributed.average_batch_norms(self.method)  # one network on all ranks; does not act on training
            record["knn"] = self.probe.score(self.method.encoder, self.world)
            clock.lap()
        return record

    def _save_backbone(self) -> None:
        config = self.config
        encoder = self.method.encoder
        assert isinstance(encoder, Backbone)
        facts = BackboneFacts(
            arch=config.arch,
            bands=len(self.mean),
            band_names=tuple(band.name for band in self.index.info.bands),
            mean=self.mean,
            std=self.std,
            size=config.augment.size,
            stem=config.stem,
            method=config.method.kind,
            dataset_fingerprint=self.index.info.fingerprint,
            checkpoint_digest=checkpoint.last_digest(self.saved.folder),
        )
        save_backbone(self.out / FILE, encoder, facts)


def _not_finite(x: Tensor) -> Tensor:
    return (~torch.isfinite(x)).float()
