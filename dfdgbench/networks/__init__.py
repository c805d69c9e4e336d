"""Networks: backbones, small CNNs, what they are asked for, and taps on what enters their batch normalisation."""
