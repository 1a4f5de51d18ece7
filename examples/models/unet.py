"""A small U-Net: logits for each pixel, and the class of each pixel as whole numbers."""

import torch
from torch import nn

from onnx_conformance.catalog.models import register_model
from onnx_conformance.core.domains import Bounded
from onnx_conformance.core.spec import TensorSpec

CLASSES = 4


def convolutions(before, after):
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(),
        nn.Conv2d(after, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(),
    )  # fmt: skip


class UNet(nn.Module):
    """Halves the image twice and doubles it twice, each time with what it knew before."""

    def __init__(self):
        super().__init__()
        self.down = nn.ModuleList([convolutions(3, 8), convolutions(8, 16)])
        self.bottom = convolutions(16, 32)
        self.wider = nn.ModuleList(
            [nn.ConvTranspose2d(32, 16, 2, stride=2), nn.ConvTranspose2d(16, 8, 2, stride=2)]
        )
        self.up = nn.ModuleList([convolutions(32, 16), convolutions(16, 8)])
        self.head = nn.Conv2d(8, CLASSES, 1)

    def forward(self, image):
        x, kept = image, []
        for part in self.down:
            kept.append(part(x))
            x = nn.functional.max_pool2d(kept[-1], 2)
        x = self.bottom(x)
        for wider, part in zip(self.wider, self.up, strict=True):
            x = part(torch.cat([wider(x), kept.pop()], dim=1))
        logits = self.head(x)
        return {"logits": logits, "mask": logits.argmax(dim=1)}


def train(model, steps=20):
    """A third of a second: which quarter of the brightness a pixel belongs to.

    Fresh weights give one class to every pixel of every image, and comparing that proves nothing:
    the check ``liveness`` says so.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(steps):
        image = torch.rand(8, 3, 8, 8).repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
        quarter = (image.mean(dim=1) * CLASSES).long().clamp(0, CLASSES - 1)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(image)["logits"], quarter).backward()
        optimizer.step()
    return model


@register_model(
    "unet",
    # Pixels lie between 0 and 1, and inputs stay there.
    inputs=[TensorSpec("image", ("batch", 3, "height", "width"), domain=Bounded(0, 1))],
    # Smallest, largest, step: two halvings need a multiple of 4.
    axes={"height": (32, 96, 16), "width": (32, 64, 4)},
)
def unet():
    return train(UNet())
