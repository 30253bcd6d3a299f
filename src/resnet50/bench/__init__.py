"""`resnet50 bench`: the speed of this project, its baseline and the machine's limit, measured side by side.

Method:

- Candidate and baseline each run in a process of their own (`process.py`), because the candidate configures its whole
  process (threads, allocator, precision) and the baseline must not benefit from that. A child sets up and warms up; the
  parent then requests rounds from both in turn, swapping the order every round, so that other load on the machine
  affects both alike. Where both need the same settings, one child runs both.
- A round yields a rate. The ratio is the geometric mean of the paired ratios of the rounds, its 90% interval is
  Student's t on their logarithms (`rounds.py`). The rates of candidate and baseline are medians.
- The machine's limit is measured between the rounds, not assumed (`limits.py`): matrix products in the candidate's
  precision, a large copy in memory, or decoding alone. Its best round counts, since a limit is what can be sustained.
- On a GPU, rounds are timed by CUDA events, and start and end with an idle device.
- The baseline is torchvision's `resnet50` in fp32, NCHW, eager, with `torch.optim.AdamW`; for loading, PIL and
  torchvision's transforms in a `DataLoader` with the same number of workers. Its batches are normalized floats before
  the clock starts; the candidate's are uint8 and normalized within the measured time.
"""
