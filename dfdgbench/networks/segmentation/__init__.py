"""Networks from images to a score map: DeepLabV3, SegNet, a small one; the generator and the discriminators of adaptation."""
