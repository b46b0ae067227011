"""Published numbers, to stand beside own scores as reference lines: one row a number, with how sure it is.

`C` read in the paper or its tables, `I` inferred, `M` from memory or second hand. They were made with other code, often
with another split or protocol; the note says what is known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """One number, percent."""

    task: str
    data: str
    """Part of the name of the data set, lower case."""
    classes: int | None
    """How many the set has; another number is another problem. None where it does not matter."""
    metric: str
    model: str
    value: float
    certainty: str
    source: str
    note: str = ""


def published(task: str, data: str, classes: int | None, metric: str) -> list[Published]:
    """Numbers that a score of this task, data set and metric can be held against, the largest first."""
    plain = re.sub(r"[^a-z0-9]", "", data.lower())
    found = [
        row
        for row in TABLE
        if row.task == task
        and row.metric == metric
        and row.data in plain
        and (row.classes is None or row.classes == classes)
    ]
    return sorted(found, key=lambda row: -row.value)


def _read(text: str) -> Iterator[Published]:
    """`task data classes metric certainty | source | note`, then indented lines of `model: percent; …`."""
    for block in re.split(r"\n(?=\S)", text.strip()):
        first, _, body = block.partition("\n")
        facts, source, note = (*(part.strip() for part in first.split("|")), "")[:3]
        task, data, classes, metric, certainty = facts.split()
        assert certainty in ("C", "I", "M"), first
        for entry in " ".join(body.split()).split("; "):
            model, _, value = entry.rpartition(": ")
            count = None if classes == "-" else int(classes)
            yield Published(task, data, count, metric, model, float(value), certainty, source, note)


TABLE = tuple(
    _read(
        """
linear fmow 62 top1_percent C | Ayush et al. 2021, table 1 | 200 epochs
    MoCo-v2: 60.69; MoCo-v2+Geo: 64.07; MoCo-v2+TP: 68.32; MoCo-v2+Geo+TP: 66.33; MoCo-v2, ImageNet:
    37.05; geolocation only: 52.4
linear fmow 62 f1_macro_percent C | Ayush et al. 2021, table 1 | 200 epochs
    MoCo-v2: 55.47; MoCo-v2+Geo: 61.6; MoCo-v2+TP: 64.53; MoCo-v2+Geo+TP: 63.13; MoCo-v2, ImageNet:
    31.55; geolocation only: 48.96
linear fmow 62 temporal_top1_percent C | Ayush et al. 2021, table 2
    MoCo-v2+Geo+TP: 72.76
linear fmow 62 temporal_f1_macro_percent C | Ayush et al. 2021, table 2
    MoCo-v2+Geo+TP: 69.56
finetune fmow 62 top1_percent C | Ayush et al. 2021, table 1 | protocol inferred
    MoCo-v2: 64.34; MoCo-v2+Geo: 69.04; MoCo-v2+TP: 71.55; MoCo-v2+Geo+TP: 70.6; supervised, from
    ImageNet: 69.07; supervised, from scratch: 69.05
finetune fmow 62 f1_macro_percent C | Ayush et al. 2021, table 1 | protocol inferred
    MoCo-v2: 60.61; MoCo-v2+Geo: 66.6; MoCo-v2+TP: 67.34; MoCo-v2+Geo+TP: 66.56; supervised, from
    ImageNet: 64.72; supervised, from scratch: 64.71
finetune fmow 62 top1_percent M | quoted
    Scale-MAE, ViT-L: 77.9
linear sn7 31 top1_percent C | project report, table 1 | best epoch
    VICReg R18: 81.84; VICReg R50: 91.16; VICReg R50+TP: 94.61; supervised R50: 88.62
finetune sn7 31 top1_percent C | project report, table 1 | 10 % of the labels
    VICReg R50+TP, 10 %: 84.41; VICReg R50, 10 %: 79.42; VICReg R18, 10 %: 76.67
knn sn7 31 top1_percent C | project report, table 2 | K 20, images of one place on both sides
    VICReg R50+TP: 99.5; VICReg R50: 96.52; supervised R18: 90.74
cluster sn7 31 accuracy_percent C | project report, table 2 | train and validation
    supervised R18: 57.44; VICReg R50: 17.82; VICReg R50+TP: 16.32
finetune eurosat 10 top1_percent C | project report, table 3 | called linear in the report; everything was trained
    VICReg, SpaceNet 7: 96.51; VICReg+TP, SpaceNet 7: 97.31; VICReg+TP, fMoW: 97.2; supervised,
    ImageNet: 98.32
finetune eurosat 10 top1_percent C | GeRSP, published tables | frozen or not: not said
    ImageNet, supervised: 97.84; MoCo v2, Million-AID: 97.52; SeCo: 97.74; Geo-Aware: 97.87; GeRSP:
    97.87; GeRSP-200: 97.87
finetune resisc 45 top1_percent C | GeRSP, published tables | frozen or not: not said
    ImageNet, supervised: 92.48; MoCo v2, Million-AID: 91.28; SeCo: 90.4; Geo-Aware: 92.37; GeRSP:
    92.67; GeRSP-200: 92.74
linear eurosat 10 top1_percent C | torchgeo's table of weights
    SeCo R18: 93.14
linear eurosat 10 top1_percent M | Mañas et al. 2021
    random R18: 63.21; ImageNet R18: 86.44; MoCo-v2 R18: 83.72; MoCo-v2+TP R18: 89.51
finetune bigearthnet 19 micro_ap_percent I | torchgeo's table of weights | mean over batches
    SeCo R18: 87.27; SeCo R50: 87.81
finetune bigearthnet 19 micro_ap_percent M | quoted by SatMAE | 10 % of the labels, mean over batches
    random R50, 10 %: 69.49; ImageNet R50, 10 %: 80.04; SeCo R50, 10 %: 82.62
knn airound - scales_mean_top1_percent C | Reed et al. 2023, table 1 | 12.5, 25, 50 and 100 % of the native side; ViT-L
    Scale-MAE: 63.2; SatMAE: 57.8; ConvMAE: 59.7
knn cvbrct - scales_mean_top1_percent C | Reed et al. 2023, table 1 | 12.5, 25, 50 and 100 % of the native side; ViT-L
    Scale-MAE: 69.7; SatMAE: 66.2; ConvMAE: 68.4
knn eurosat - scales_mean_top1_percent C | Reed et al. 2023, table 1 | 12.5, 25, 50 and 100 % of the native side; ViT-L
    Scale-MAE: 86.7; SatMAE: 84.4; ConvMAE: 88.8
knn mlrsnet - scales_mean_top1_percent C | Reed et al. 2023, table 1 | 12.5, 25, 50 and 100 % of the native side; ViT-L
    Scale-MAE: 81.7; SatMAE: 75; ConvMAE: 79.5
knn optimal31 - scales_mean_top1_percent C | Reed et al. 2023, table 1 | 12.5, 25, 50 and 100 % of the native side; ViT-L
    Scale-MAE: 65.5; SatMAE: 55.7; ConvMAE: 61.7
knn resisc - scales_mean_top1_percent C | Reed et al. 2023, table 1 | 12.5, 25, 50 and 100 % of the native side; ViT-L
    Scale-MAE: 70; SatMAE: 61; ConvMAE: 67
knn ucmerced - scales_mean_top1_percent C | Reed et al. 2023, table 1 | 12.5, 25, 50 and 100 % of the native side; ViT-L
    Scale-MAE: 75; SatMAE: 69.8; ConvMAE: 70
knn whurs19 - scales_mean_top1_percent C | Reed et al. 2023, table 1 | 12.5, 25, 50 and 100 % of the native side; ViT-L
    Scale-MAE: 79.5; SatMAE: 78.5; ConvMAE: 77
knn eurosat 10 top1_percent M | Scale-MAE, issue 1 | full scale
    Scale-MAE, ViT-L: 96
linear resisc 45 top1_percent I | Reed et al. 2023
    Scale-MAE: 89.6; SatMAE: 88.3; MAE: 88.9; ConvMAE: 81.2
finetune resisc 45 top1_percent M | Reed et al. 2023
    Scale-MAE: 95.7; SatMAE: 94.8; MAE: 93.3; ConvMAE: 95
change oscd - batch_mean_f1_percent C | torchgeo's table of weights
    SeCo R18: 46.94
change oscd - batch_mean_f1_percent M | Mañas et al. 2021
    random R18: 29.44; ImageNet R18: 36.2; MoCo-v2 R18: 40.71; MoCo-v2+TP R18: 40.12
detect dior 20 ap50_percent C | GeRSP, published tables | Faster R-CNN, test
    ImageNet, supervised: 65.1; MoCo v2, Million-AID: 65.5; SeCo: 59.7; Geo-Aware: 63.1; GeRSP: 67.1;
    GeRSP-200: 67.8
detect dota 15 ap50_percent C | GeRSP, published tables | Faster R-CNN, horizontal boxes, validation
    ImageNet, supervised: 65.1; MoCo v2, Million-AID: 64.2; SeCo: 59.5; Geo-Aware: 64.2; GeRSP: 65.9;
    GeRSP-200: 66.1
detect xview 60 ap50_percent C | Ayush et al. 2021, table 3 | RetinaNet
    random: 10.75; supervised, from ImageNet: 14.44; MoCo-v2: 15.45; MoCo-v2+Geo: 15.63; MoCo-v2+TP:
    17.65; MoCo-v2+Geo+TP: 17.74
segment loveda 7 miou_percent C | GeRSP, published tables | PSANet
    ImageNet, supervised: 49.24; MoCo v2, Million-AID: 44.79; SeCo: 44.64; Geo-Aware: 49.37; GeRSP:
    49.53; GeRSP-200: 49.56
segment spacenet 2 miou_percent C | Reed et al. 2023, table 4 | SpaceNet v1 buildings
    supervised, PSANet: 75.6; Ayush et al., PSANet: 78.5; MAE, UPerNet: 77.9; SatMAE, UPerNet: 78;
    Scale-MAE, UPerNet: 78.9
"""
    )
)
