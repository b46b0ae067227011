"""MomentumConfig: what MoCo, SeCo and GeRSP can be told of their momentum branch and its queue."""

from __future__ import annotations

from pydantic import Field

from rstrain.methods.config import MethodConfig, RunFacts
from shards.errors import ConfigError


class MomentumConfig(MethodConfig):
    """Options of every method that compares queries with the keys of a slowly moving copy (He et al. 2020)."""

    temperature: float = Field(0.07, gt=0, description="cosines are divided by it")
    queue: int = Field(65536, gt=0, description="negatives kept from earlier batches")
    dim: int = Field(128, gt=0, description="length of the projection")
    encoder_momentum: float = Field(
        0.999, ge=0, le=1, description="share of the key (momentum) encoder that stays at each step"
    )
    shuffle: bool = Field(
        True, description="shuffle-BN: keys change places over ranks and bn_splits before they are normalised"
    )
    bn_splits: int = Field(
        1,
        gt=0,
        description="batch-norm statistics in this many parts of the batch a rank; 2 or more for one process",
    )

    def check_queue(self, facts: RunFacts) -> None:
        """Refuse a queue that one step would overrun.

        Raises:
            ConfigError: says both numbers.
        """
        if facts.batch > self.queue:
            raise ConfigError(
                f"batch={facts.batch} is larger than queue={self.queue}: the queue must hold the keys of at least one "
                f"step; use a smaller batch or a longer queue"
            )
