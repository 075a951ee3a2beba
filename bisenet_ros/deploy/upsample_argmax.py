"""Bilinear upsampling by 8 and argmax, without upsampling every class.

Upsampling 19 maps to 1024x512 followed by argmax moves 40 MB per frame, which costs as much as a
large part of the network. Between four neighboring logits only few classes can win: one that is far
below the maximum at all four is so in between. So only the top classes of each cell between four
logits are interpolated.
"""

import torch
from torch import Tensor

SCALE = 8
HALF = SCALE // 2

CANDIDATES = 7
"""Interpolated classes per cell. With six, up to 8 of 100,000 labels of a CamVid image change, with
seven none; with 150 classes and smooth random logits, 80 do."""


def upsample_argmax(logits: Tensor, *, confidence: bool = False) -> tuple[Tensor, ...]:
    """Return the class of each pixel and optionally its probability.

    Equals argmax and softmax after bilinear upsampling by 8 (half-pixel centers, edges repeated),
    except for pixels whose class is not among the ``CANDIDATES`` of their cell. In the probability,
    all other classes are interpolated as if they were one.

    Args:
        logits: float32 [N,C,h,w].
        confidence: also return the probability.

    Returns:
        Class ids, float32 [N,8h,8w], and optionally probabilities 0..1, float32 [N,8h,8w].
    """
    # Plain numbers, since the exporter traces all computations with tensors.
    images, classes, height, width = (int(size) for size in logits.shape)
    count = min(CANDIDATES, classes)
    padded = torch.cat((logits[:, :, :1], logits, logits[:, :, -1:]), dim=2)
    padded = torch.cat((padded[..., :1], padded, padded[..., -1:]), dim=3)
    # Put the images one below the other, to treat them as one until they are cut out again.
    stride = height + 2
    if images > 1:
        padded = padded.transpose(0, 1).reshape(1, classes, images * stride, width + 2)
    rows, columns = images * stride - 1, width + 1  # of cells, whose corners are four logits
    above, below = padded[:, :, :-1], padded[:, :, 1:]
    corners = torch.cat((above[..., :-1], below[..., :-1], above[..., 1:], below[..., 1:]))

    winner = corners.amax(dim=1, keepdim=True)
    behind = corners - winner
    ids = behind.amax(dim=0, keepdim=True).topk(count, dim=1).indices
    values = corners.gather(1, torch.cat((ids,) * 4))
    interpolated = count
    if confidence and count < classes:
        interpolated += 1
        others = behind.exp().sum(1, keepdim=True) - (values - winner).exp().sum(1, keepdim=True)
        values = torch.cat((values, others.clamp(min=1e-9).log() + winner), dim=1)

    # Interpolate horizontally first, then vertically for one candidate after another. Axes keep
    # the order of the image: candidate, row of cells, 8 pixels down, all pixels across.
    steps = (torch.arange(SCALE, device=logits.device) + 0.5) / SCALE
    down = steps.view(SCALE, 1)

    def across(cells: Tensor) -> Tensor:
        """Reshape [1,N,rows,columns,8] to [1,N,rows,1,8w]."""
        return cells.reshape(1, -1, rows, 1, SCALE * columns)[..., HALF:-HALF]

    left, right = values.unsqueeze(4)[:2], values.unsqueeze(4)[2:]
    lines = left + (right - left) * steps
    top, bottom = across(lines[:1]), across(lines[1:])
    change = bottom - top
    names = across(ids.to(logits.dtype).unsqueeze(4) * torch.ones_like(steps))
    pixels = [top[:, k : k + 1] + change[:, k : k + 1] * down for k in range(interpolated)]

    best, label = pixels[0], names[:, :1]
    for k in range(1, count):
        label = torch.where(pixels[k] > best, names[:, k : k + 1], label)
        best = torch.maximum(best, pixels[k])
    found = [label]
    if confidence:
        total = (pixels[0] - best).exp()
        for pixel in pixels[1:]:
            total = total + (pixel - best).exp()
        found.append(total.reciprocal())

    def cut(tall: Tensor) -> Tensor:
        """Return [N,8h,8w] of the images one below the other."""
        tall = tall.reshape(1, SCALE * rows, SCALE * width)
        tops = [HALF + SCALE * stride * image for image in range(images)]
        parts = [tall[:, top : top + SCALE * height] for top in tops]
        return torch.cat(parts) if images > 1 else parts[0]

    return tuple(map(cut, found))
