"""Labels of all pixels from logits at an eighth of the size, without upsampling every class.

Upsampling 19 maps to 1024x512 and taking the argmax moves 40 MB a frame, which costs as much as a
large part of the network. But between four neighboring logits only few classes can win: one that
is far below the winner at all four is so in between. So the classes that come closest to winning
are picked for each cell between four logits, and these few are interpolated.
"""

import torch
from torch import Tensor

SCALE = 8
HALF = SCALE // 2

CANDIDATES = 7
"""For each cell. With six instead, up to 8 labels in 100,000 of a CamVid image change, with seven
none; of 150 classes and smooth random logits it is 80."""


def upsample_argmax(logits: Tensor, *, confidence: bool = False) -> tuple[Tensor, ...]:
    """The class of each pixel, and its probability if asked for.

    What argmax and softmax of the logits give after bilinear upsampling by 8 (half-pixel centers,
    edges repeated), but for pixels whose class is none of the ``CANDIDATES`` of their cell, and
    for the other classes' part in the probability, which is interpolated as one class.

    Args:
        logits: float32 [1,C,h,w].
        confidence: also give the probability.

    Returns:
        Class ids, float32 [1,8h,8w], and probabilities 0..1, float32 [1,8h,8w].
    """
    # As plain numbers, since the exporter makes nodes of everything that it sees computed.
    classes, height, width = (int(size) for size in logits.shape[1:])
    count = min(CANDIDATES, classes)
    rows, columns = height + 1, width + 1  # of cells: a pixel lies between four logits
    padded = torch.cat((logits[:, :, :1], logits, logits[:, :, -1:]), dim=2)
    padded = torch.cat((padded[..., :1], padded, padded[..., -1:]), dim=3)
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

    # Rows of cells are interpolated across first, and then down for one candidate after another.
    # The axes stay in the order of the image: candidate, row of cells, 8 down, all pixels across.
    steps = (torch.arange(SCALE, device=logits.device) + 0.5) / SCALE
    down = steps.view(SCALE, 1)

    def across(cells: Tensor) -> Tensor:
        """[1,N,rows,columns,8] to [1,N,rows,1,8w]."""
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
    shape = 1, SCALE * rows, SCALE * width
    return tuple(each.reshape(shape)[:, HALF:-HALF] for each in found)
