"""The names of files of many runs, and of parts."""


def stops_of(slug):
    return STUDY.stops(VARIANTS[slug].name)


def every_step(file, slugs=SLUGS):
    """`file` of every variant, seed and exported step of the study."""
    return [
        path
        for slug in slugs
        for path in expand(
            f"{STEP}/{file}",
            variant=slug,
            seed=STUDY.training.seeds,
            step=STUDY.exports(VARIANTS[slug].name),
            allow_missing=True,
        )
    ]


def every_run(file):
    """`file` of every run that the study trains."""
    return expand(f"{RUN}/{file}", variant=TRAINED, seed=STUDY.training.seeds)


def last_step(file):
    """`file` of the last step of every run that the study trains."""
    return expand(f"{STEP}/{file}", variant=TRAINED, seed=STUDY.training.seeds, step=EXPORTS[-1])


def every_evaluation(file):
    """`file` of every evaluation, in their order."""
    return [f"{RESULTS}/{STUDY.folder_of(row)}/{file}" for row in STUDY.evaluations]


def headline_evaluation(file):
    """`file` of the last step, first seed and first guidance scale of every variant."""
    return expand(
        f"{EVALUATION}/{file}",
        variant=SLUGS,
        seed=STUDY.training.seeds[0],
        step=EXPORTS[-1],
        apart="",
        guidance=STUDY.sampling.guidance_scales[0],
    )


def of_every_extractor(file, folder=f"{RESULTS}/reference"):
    """`file` of every extractor, the headline's first: of the reference, or in another folder."""
    return expand(f"{folder}/{{extractor}}/{file}", extractor=EXTRACTORS, allow_missing=True)


def numbered(patterns, count):
    """Each pattern with {number} as 00000, 00001, ... up to `count`; other wildcards stay."""
    return expand(patterns, number=[f"{number:05d}" for number in range(count)], allow_missing=True)
