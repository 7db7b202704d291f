"""Tools over /proc/iomem listings: lenient reading, diff, checks against consumers, watching."""
