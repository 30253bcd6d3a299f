"""`resnet50 bench`: how fast this machine is with us, with what people do otherwise, and at its limit.

How it measures:

- Every contender lives in a process of its own (`contender.py`), because ours sets things for its whole process
  (threads, memory, number formats) that the baseline must not profit from. The child sets up and warms up; then the
  parent asks now the one, now the other for a round, and turns their order round every time, so that whatever else the
  machine does hits both. Where both sides need the same settings, one child has both.
- A round yields a rate. The ratio is the geometric mean of the rounds' paired ratios, its 90 % interval is Student's t
  on their logarithms (`rounds.py`). `ours` and `baseline` are medians.
- The machine's limit is measured between the rounds, not typed in (`limits.py`): matrix products in the number format
  that ours uses, a large copy in memory, pure decoding. Its best round counts: a limit is what can be sustained.
- On a GPU, rounds are timed by CUDA events, with nothing in flight before or after.
- What is baseline: torchvision's `resnet50` in fp32, NCHW, eager, with `torch.optim.AdamW`; PIL and torchvision's
  transforms in a `DataLoader` of the same number of workers. Its batches are float and ready before the clock starts,
  ours are uint8 and normalized within the time.
"""
