"""One thread: quicker for small models, and the same to the last bit from run to run."""

import torch

torch.set_num_threads(1)
