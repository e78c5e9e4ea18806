//! The page that shows the comparison, `docs/docker-comparison.md`.

use std::fmt::Write;
use std::path::Path;

use super::answer::{Answer, Verdict};
use super::list::{Act, LIST, Mark, Step};

/// How the docker CLI is asked who took part.
pub(super) const VERSIONS: &str =
    "version --format 'Docker Engine {{.Server.Version}}, docker CLI {{.Client.Version}}'";

const PAGE: &str = "docs/docker-comparison.md";
const HEAD: &str = "\
# weft beside a Docker Engine

The same docker CLI gives the same commands, in this order, to a Docker Engine and to a weft that
has just started, and every answer is compared: exit code, words, and the values of JSON, but for
ids, moments and station addresses. A code other than 0 stands before the answer; `⏎` is the end of
a line; `@name` stands for the first twelve digits of the network's id. Of JSON that differs only
the difference is shown. Containers are sandboxes of `weft run` on weft's side.

*same*: the same code and words. *same words*: the engine's words, whatever their case, and ours
around them. *differs*: something else, and why. *later*: what this version does not have yet. Of
JSON, `null` and nothing in brackets are the same, and fields that are newer than the engine's API
are not compared.

This page is written by `WEFT_RECORD=1 scripts/test real engine`, and `scripts/test` fails when it
is no longer true.

";

/// Sees that every answer is the engine's, or differs for a reason that is given, and that the page
/// says so.
pub(super) fn check(versions: &str, engine: &[Answer], weft: &[Answer]) {
    let mut page = String::new();
    let mut counts = [0; 4];
    let mut wrong = Vec::new();
    let mut answers = engine.iter().zip(weft);
    for part in LIST {
        let _ = write!(
            page,
            "\n## {}\n\n| command | engine | weft | compared |\n| --- | --- | --- | --- |\n",
            part.title
        );
        for (step, (engine, weft)) in part.steps.iter().zip(answers.by_ref()) {
            let verdict = engine.compare(weft);
            if let Some(what) = mistake(step, &verdict) {
                wrong.push(format!(
                    "{}\n  {what}\n  engine: {engine:#?}\n  weft: {weft:#?}",
                    told(step.act)
                ));
            }
            counts[match (step.mark, &verdict) {
                (Mark::Aside(_), _) | (Mark::Later, Verdict::Differs(..)) => 3,
                (_, Verdict::Same) => 0,
                (_, Verdict::SaysMore) => 1,
                (_, Verdict::Differs(..)) => 2,
            }] += 1;
            page.push_str(&row(step, engine, weft, &verdict));
        }
    }
    let [same, same_words, differ, later] = counts;
    let page = format!(
        "{HEAD}Recorded with {versions}.\n\nOf {} answers {same} are the same, {same_words} have the \
         same words, {differ} differ for\na reason, and {later} wait for what is to come.\n{page}",
        counts.iter().sum::<i32>(),
    );
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let recorded = std::fs::read_to_string(&path).unwrap_or_default();
    if std::env::var_os("WEFT_RECORD").is_some() {
        std::fs::write(&path, &page).unwrap();
    } else if !recorded.contains(&format!("Recorded with {versions}.\n")) {
        // Another engine has other words.
        println!("{PAGE} is not of {versions}; what differs here:\n{}", wrong.join("\n"));
        return;
    } else if recorded != page {
        let lines = page.lines().filter(|line| !recorded.lines().any(|other| other == *line));
        let lines: Vec<&str> = lines.collect();
        wrong.push(format!("{PAGE} does not say:\n{}", lines.join("\n")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// What is wrong with the mark of a step.
fn mistake(step: &Step, verdict: &Verdict) -> Option<&'static str> {
    match (step.mark, verdict) {
        (Mark::Same, Verdict::Differs(..)) => Some("differs, and nothing says why"),
        (Mark::Differs(_), Verdict::Same | Verdict::SaysMore) => Some("does not differ any more"),
        (Mark::Same, Verdict::Same | Verdict::SaysMore)
        | (Mark::Differs(_), Verdict::Differs(..))
        | (Mark::Later | Mark::Aside(_), _) => None,
    }
}

fn row(step: &Step, engine: &Answer, weft: &Answer, verdict: &Verdict) -> String {
    let own = |engine: &str, said: &str| (engine.to_owned(), weft.line(), said.to_owned());
    let (engine, weft, said) = match (step.mark, verdict) {
        (Mark::Aside(how), _) => own(how, "not compared"),
        (_, Verdict::Same) => (engine.line(), "the same".to_owned(), "same".to_owned()),
        (_, Verdict::SaysMore) => own(&engine.line(), "same words"),
        (mark, Verdict::Differs(engine, weft)) => {
            let said = match mark {
                Mark::Differs(why) => format!("differs: {why}"),
                Mark::Same | Mark::Later | Mark::Aside(_) => "later".to_owned(),
            };
            (engine.clone(), weft.clone(), said)
        }
    };
    let cell = |text: &str| text.replace('|', "\\|").replace('<', "&lt;");
    let command = told(step.act).replace('|', "\\|");
    format!("| `{command}` | {} | {} | {} |\n", cell(&engine), cell(&weft), cell(&said))
}

/// The step as one would type it.
fn told(act: Act) -> String {
    match act {
        Act::Docker(line) => line.to_owned(),
        Act::Start { name, network, ip: "" } => format!("run --name {name} --network {network}"),
        Act::Start { name, network, ip } => {
            format!("run --name {name} --network {network} --ip {ip}")
        }
        Act::Stop(name) => format!("stop {name}"),
    }
}
