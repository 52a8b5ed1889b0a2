"""Which parts of the recipe a study tells apart, and by which rows."""

# what is changed, the row with it, the row without it
PARTS = (
    ("The order by content", "64 blocks", "sequence order"),
    ("Summaries of what is not attended", "64 blocks", "no summaries"),
    ("Small blocks in content order instead of tiles of 16", "64 blocks", "tiles of 16"),
    ("64 exact blocks instead of 16", "64 blocks", "16 blocks"),
    ("128 exact blocks instead of 64", "128 blocks", "64 blocks"),
    ("Dense frame attention, unlike the paper's operator", "tiles of 16", "paper's operator"),
    ("FP8 weights under dense attention", "dense, FP8 weights", "dense"),
    ("FP8 weights under sparse attention", "64 blocks, FP8 weights", "64 blocks"),
    ("FP8 weights to suit their inputs", "dense, FP8 weights", "dense, FP8 weights, nearest"),
    ("The same in W8A8", "dense, W8A8", "dense, W8A8, nearest"),
    ("W8A8 instead of FP8 weights", "64 blocks, W8A8", "64 blocks, FP8 weights"),
    ("W8A8 under 16 exact blocks", "16 blocks, W8A8", "16 blocks"),
    ("bfloat16", "dense, bfloat16", "dense"),
    ("Solving for the last layers of attentions", "16 blocks, out", "16 blocks"),
    ("Training low-rank updates", "16 blocks, lora", "16 blocks"),
    ("Training the sparse attentions", "16 blocks, attn", "16 blocks"),
    ("Training everything", "16 blocks, all", "16 blocks"),
    ("Training projections of a linear branch", "tiles of 16, proj", "tiles of 16"),
    ("Low-rank updates towards attention alone", "16 blocks, lora, towards attention", "16 blocks"),
    *(
        (
            f"Attention outputs weighed by {gamma} beside depth and cameras, instead of not at all",
            f"16 blocks, lora, attention by {gamma}",
            "16 blocks, lora, attention by 0",
        )
        for gamma in ("0.1", "1")
    ),
    (
        "Rounding to W8A8 in training instead of afterwards",
        "16 blocks, attn in W8A8",
        "16 blocks, attn, then W8A8",
    ),
    *(
        (f"Training gains under {row}", f"{row}, gains in FP8", f"{row}, FP8 weights")
        for row in ("64 blocks", "32 blocks")
    ),
    ("The paper's training set-up", "paper's set-up", "paper's operator, FP8 weights"),
    ("Making up for what cells understate", "64 blocks", "no offsets"),
    ("Axes calibrated once instead of anew", "no offsets", "axes computed anew"),
    ("Dense frame attention", "64 blocks", "frame attention too"),
    ("Cells of three sizes instead of two", "64 blocks", "cells 4, 64"),
    ("Cells of two sizes instead of one", "cells 4, 64", "cells 4"),
)
ON_PHOTOS = (
    *("64 blocks", "16 blocks", "sequence order", "no summaries", "tiles of 16"),
    *("dense, FP8 weights", "dense, FP8 weights, nearest", "dense, W8A8", "dense, W8A8, nearest"),
)
