"""The study from a clone, where `snakemake --cores 2` looks for this file first; the same as workflow/Snakefile."""


include: "workflow/Snakefile"


# Snakemake forgets the default target of an included file.
workflow.default_target = "all"
