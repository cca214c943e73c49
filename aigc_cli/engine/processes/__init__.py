"""Several processes that train one model together: how they are started, and what passes between them.

PyTorch does the work: its elastic launcher (`torchrun`) starts and watches the processes, and `torch.distributed` carries the
numbers. Nothing outside this package knows of ranks.
"""
