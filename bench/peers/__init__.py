# SPDX-License-Identifier: MIT
"""What bench/compare, bench/idle and bench/instructions are made of."""
