"""Gates: while training goes on, is a run on track, undertrained for its budget, or broken?"""
