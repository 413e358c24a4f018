"""Gets lead lists from spreadsheets into OtoniStark: no lead twice, no lead lost.

The story of one row, in order:

    cli         takes the command, with `options`; `usage` says what is wrong with one, `screen` is what people see of it,
                `telling` sees that it is told
    pipeline    joins the stages below: the first file to read
    config      says what the columns mean, by `config_values`; `config_problems` says what is wrong with it, `columns`
                which column a name in it means; without one the names of the `platform_layout` say it
    read        turns a file into text cells: `unpack` opens compressed ones; `read_text` (with `encodings`),
                `read_workbook` (with `sheet_xml` and `sheet_records` for what its parts tell beside the texts),
                `read_markup` and `read_parquet`; `sheets` finds the table on them, `titles` that below
                the title of a text file, `headers` its column names
    cells       restores what spreadsheets have damaged, where `number_formats` or `wrong_encoding` prove what it was,
                and refuses the rest
    mapping     finds phone, campaign and variables in the cells, with `phones` (and `phone_patterns`, its fast path),
                `dates` and `emails` for what they are
    suppress    knows who must not be called
    group       joins rows to leads with their secondary contacts
    plan        decides which leads are sent, by what the file says itself and by what `ledger` knows (by `hashes` of
                people; `ledger_file` opens and guards its file, `ledger_writes` says what is written of each lead,
                `group_commit` writes many at once)
    first_lead  shows the first one to a person before anything goes out
    rehearse    what `check` comes to, without a network; and what a run comes to before its results are written
    sending     opens what a run needs of the machine (`machine`: key, ledger, lock) and of the service (its `address`),
                and sends the `canary` first
    briefing    says before the first lead which campaigns get how many, and by `estimate` how long they take
    deliver     sends under the ledger, through the `gate` that keeps the `pace` and what may be `inflight`, by `api`
                (and `wire`); `answers` judges what came back
    pace        says when the next may go: by the `schedule` of limits that are known, by what headers tell of one
                (`pace_told`), and else by what is found by trying (`pace_found`): a limit that explains what was refused
                (`pace_explained`)
    settle      looks up what is in doubt, by the server's `clock`; `breakers` stop a run that only does harm
    results     tells every row what became of it, by the `outcomes` of the leads
    write       writes the result file, a workbook by `write_workbook`, which `looks` like its input; `receipt` says by
                hashes what it came from

About past runs (`cli_past`): `past` lists them, `replay` tells once more what one made of its rows, `settle_run` looks
up what it left unknown, `undo` deletes what it created (both find leads `listed` by the service); `connect` opens the
service for them, and for `verify`.

`starter` writes a first config for a list (`init`), in the words of `starter_text`: `guess` says what its columns seem
to be, by its cells and by what their headers say in six languages (`header_words`).

`records` has the nouns, `errors` what can go wrong, `wording` how counts are said, and `sandbox` is a local service for
rehearsals: `sandbox_api` has its routes, `sandbox_memory` what it knows, `sandbox_rules` what it refuses,
`sandbox_faults` what can go wrong there.
"""
