"""The training loop. It knows steps, ranks, checkpoints and logs; what is learnt is the method's business."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from rstrain import distributed
from rstrain.config import TrainConfig
from rstrain.data.batch import HostBatch
from rstrain.data.workers import read_ahead
from rstrain.engine import checkpoint, spread
from rstrain.engine.clock import Clock
from rstrain.engine.folder import check_run, locked, open_run
from rstrain.engine.log import Metrics
from rstrain.engine.machine import memory_mb
from rstrain.engine.probe import Probe
from rstrain.engine.saved import SavedRun
from rstrain.engine.source import credits_of, open_sources
from rstrain.engine.stop import StopSignals
from rstrain.engine.window import Window
from rstrain.interop.backbone import FILE, BackboneFacts, save_backbone
from rstrain.methods import RunFacts
from rstrain.methods.base import Batch, Method, StepOutput
from rstrain.models.backbone import Backbone, build_backbone
from rstrain.optim.optimizers import build_optimizer, set_lr
from shards.console import progress, say
from shards.errors import ConfigError, UserError
from shards.random import address, stream

_TORCH, _SECOND = stream("engine/torch"), stream("engine/second")


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
        return Run(config, out, world).go()


class Run:
    """A run of one rank: its data, its model, its step."""

    def __init__(self, config: TrainConfig, out: Path, world: distributed.World) -> None:
        self.config, self.out, self.world = config, out, world
        self.source, self.second = open_sources(config)
        self.index = self.source.index
        self.samples = max(len(s.index) for s in (self.source, self.second) if s is not None)
        self.steps = config.steps(self.samples)
        share = self._share()
        if share % config.accumulate:
            raise ConfigError(
                f"accumulate={config.accumulate} does not divide the {share} samples of a rank: choose a divisor"
            )
        backbone = build_backbone(
            config.arch,
            len(self.source.mean),
            stem=config.stem,
            size_px=config.input_px,
            seed=config.seed,
        )
        facts = RunFacts(
            seed=config.seed,
            batch=config.batch,
            samples=self.samples,
            epochs=config.epochs,
            classes=self.source.classes,
            geo_classes=self.source.geo.count if self.source.geo else None,
            second_classes=self.second.classes if self.second else None,
            top_label=self.source.top_label,
            second_top_label=self.second.top_label if self.second else None,
        )
        self.method: Method = config.method.create(backbone, facts).to(world.device)
        if (
            config.channels_last and config.parallel == "ddp"
        ):  # shares are flat; images are channels last anyway
            self.method = self.method.to(memory_format=torch.channels_last)
        self.method.train()
        if config.parallel == "fsdp":
            if world.world == 1:
                raise ConfigError(
                    "parallel=fsdp shares the weights between ranks, and there is one: start with torchrun, or leave it at ddp"
                )
            spread.cut(self.method, world)
        self.optimizer = build_optimizer(config.optim, self.method)
        first = self.source
        self.probe = Probe(config, first.whole, first.split, first.mean, first.std)
        self.saved = SavedRun(
            config,
            out,
            world,
            self.method,
            self.optimizer,
            fingerprint=first.whole.info.fingerprint,
            second=self.second.whole.info.fingerprint if self.second else "",
            clusters=first.geo.digest if first.geo else "",
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

    def go(self) -> TrainReport:
        """Train to the end of the run, or until a signal."""
        check_run(self.config, self.out, self.world)
        self.step, self.window = self.saved.resume()
        with locked(self.out, self.world):
            open_run(self.config, self.out, self.world)
            return self._train(self.out)

    def _train(self, run: Path) -> TrainReport:
        if self.config.compile:
            self.method.compile()
        model = spread.joined(self.method, self.world)
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
                if (scaling := self.config.optim.scaling(self.config.batch)) is not None:
                    say(scaling)
                if 0 < self.step < self.steps:
                    say(f"going on from step {self.step} of {self.steps}")
                bar = stack.enter_context(progress("pretrain", self.steps, "steps", done=self.step))
            stack.enter_context(self.signals)
            clock = Clock(self.config.save_minutes)
            for host in self.batches(self.step, self.steps):
                clock.got_batch()
                save, stop = self.learn(model, self.parts(host), host, clock)
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
            self._save_backbone()
        distributed.barrier()
        return TrainReport(
            str(run), self.step, self.steps, finished, last.get("loss"), last.get("samples_per_s")
        )

    def batches(self, start: int, stop: int) -> Iterator[HostBatch]:
        """Its share of the steps `start` … `stop`-1, read ahead."""
        config, world = self.config, self.world
        data = self.source.steps(config, world, config.seed)
        if self.second is not None:  # an order and augmentation of its own
            data.second = self.second.steps(config, world, int(address(_SECOND, config.seed)) >> 1)
        pin = world.device.type == "cuda"
        return read_ahead(data, start, stop, workers=config.workers, pin=pin, stall_s=config.stall_s)

    def learn(self, model: nn.Module, parts: list[Batch], host: HostBatch, clock: Clock) -> tuple[bool, bool]:
        """One optimiser step; answers whether to save and whether to leave, the same on all ranks."""
        config = self.config
        epoch = self.step * config.batch / self.samples
        set_lr(self.optimizer, config.optim.lr_at(epoch, config.epochs, batch=config.batch))
        torch.manual_seed(int(address(_TORCH, config.seed, self.step, self.world.rank)) >> 1)
        self.method.before_step()
        bad = torch.zeros((), device=self.world.device)
        for number, batch in enumerate(parts):
            with spread.exchange(model, now=number + 1 == len(parts)):
                with torch.autocast(
                    self.world.device.type, torch.bfloat16, enabled=config.precision == "bf16"
                ):
                    output: StepOutput = model(batch)
                bad = torch.maximum(bad, _not_finite(output.loss.detach()) * 2)
                (output.loss / len(parts)).backward()  # type: ignore[no-untyped-call]
            self.window.add(output, len(parts))
        bad = torch.maximum(bad, _not_finite(spread.gradient_norm(self.method)))
        fault, stop, save = self._agree(bad, clock)
        if fault:
            self._give_up(host, "the loss" if fault == 2 else "a gradient")
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.method.after_step()
        self.step += 1
        return bool(save), bool(stop)

    def parts(self, host: HostBatch) -> list[Batch]:
        """The micro-batches of a step, on the device."""
        layout = {"channels_last": self.config.channels_last}
        batch = self.source.batch(host, self.step, self.world.device, **layout)
        if self.second is not None:
            assert host.second is not None
            batch.second = self.second.batch(host.second, self.step, self.world.device, **layout)
        return batch.parts(self.config.accumulate)

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
            "epoch": round(self.step * self.config.batch / self.samples, 6),
            "loss": values.pop("loss"),
            **values,
            "lr": self.optimizer.param_groups[0]["lr"],
            "samples_per_s": round(counted * self.config.batch / seconds, 2),
            "data_wait": round(waited / seconds, 4),
            **memory_mb(),
        }
        if self.probe.due(self.step):
            distributed.average_batch_norms(self.method)  # one network on all ranks; does not act on training
            with spread.gathered(self.method):
                record["knn"] = self.probe.score(self.method.encoder, self.world)
            clock.lap()
        return record

    def _save_backbone(self) -> None:
        config = self.config
        encoder = self.method.encoder
        assert isinstance(encoder, Backbone)
        weights = spread.whole_weights(self.method, encoder.net)
        if not self.world.is_main:
            return
        reading = self.source.whole.reading
        facts = BackboneFacts(
            arch=config.arch,
            bands=len(self.source.mean),
            band_names=reading.bands,
            low=reading.low,
            high=reading.high,
            whole=reading.whole,
            mean=self.source.mean,
            std=self.source.std,
            size=config.input_px,
            stem=config.stem,
            gsd_m=self.source.median_gsd,
            method=config.method.kind,
            dataset_fingerprint=self.source.whole.info.fingerprint,
            **credits_of([s.whole.info for s in (self.source, self.second) if s is not None]),
            checkpoint_digest=checkpoint.last_digest(self.saved.folder),
        )
        save_backbone(self.out / FILE, encoder, facts, weights)


def _not_finite(x: Tensor) -> Tensor:
    return (~torch.isfinite(x)).float()
