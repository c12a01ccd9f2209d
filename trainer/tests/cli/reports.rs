//! Pages of runs and models.

use std::fs;

use roxmltree::{Document, ParsingOptions};
use tempfile::TempDir;

use crate::{
    refused,
    support::{command, edit, replace, unbraid},
    with,
};

/// A folder with a finished run whose model is so small that it is measured in seconds.
fn small_run() -> TempDir {
    let folder = with(&["run", "tiny"]);
    let path = |name: &str| folder.path().join(name);
    fs::remove_dir_all(path("run/model")).unwrap();
    fs::rename(path("tiny"), path("run/model")).unwrap();
    folder
}

/// Whether the page is well-formed and loads nothing; its sections.
fn sections(html: &str) -> Vec<String> {
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    let document = Document::parse_with_options(html, options).unwrap();
    for node in document.descendants() {
        assert!(!node.has_tag_name("link") && node.attribute("href").is_none_or(|place| place.starts_with('#')));
        assert!(node.attribute("src").is_none_or(|source| source.starts_with("data:image/png;base64,")));
    }
    assert_eq!(document.descendants().filter(|node| node.has_tag_name("script")).count(), 1);
    document
        .descendants()
        .filter(|node| node.has_tag_name("section"))
        .filter_map(|n| n.attribute("id"))
        .map(String::from)
        .collect()
}

#[test]
fn a_run_becomes_a_page() {
    let folder = small_run();
    let label = ["label", "run/model", "--samples", "50", "--name", "0=<b>&\"'", "--name", "1=</script>"];
    assert!(command(folder.path(), label).status().unwrap().success());
    let line = "report run --metrics mig,mutual-information --samples 200";
    let outcome = unbraid(folder.path(), line).succeeds();
    let page = fs::read_to_string(folder.path().join("run/report.html")).unwrap();
    assert_eq!(outcome.out, format!("run/report.html: {} bytes\n", page.len()));
    let expected = "settings losses samples reconstructions traversals latents factors scores int8-and-files";
    assert_eq!(sections(&page).join(" "), expected);
    for part in [
        "<td>learning_rate</td><td class=\"number\">0.001</td><td class=\"number\">0.0001</td>",
        "total_correlation over the steps",
        "traversal after step 6",
        "data-name=\"&lt;b&gt;&amp;&quot;&#39;\"",
        "means of &lt;/script&gt; beside the prior",
        "Mutual information, nats",
        "<td>mig</td><td>study</td>",
        "made for this page",
        "<td>model.safetensors</td>",
    ] {
        assert!(page.contains(part), "{part}");
    }
    refused(&folder, line, 1, &["run/report.html: exists already", "--force"]);
    unbraid(folder.path(), &format!("{line} --force")).succeeds();
    assert!(fs::read_to_string(folder.path().join("run/report.html")).unwrap() == page, "the same run, other bytes");

    // A model alone; what was measured before is taken over, if it was of this model.
    let evaluate = "evaluate run/model --metrics mig,irs --samples 200 -o run/model/evaluation.json";
    unbraid(folder.path(), evaluate).succeeds();
    unbraid(folder.path(), "report run/model --metrics mutual-information --samples 200 -o new/page.html").succeeds();
    let page = fs::read_to_string(folder.path().join("new/page.html")).unwrap();
    assert_eq!(sections(&page).join(" "), expected.replace("losses samples ", ""));
    assert!(page.contains("From evaluation.json: mig, irs.") && page.contains("<td>irs</td>"));
    replace(&folder.path().join("run/model/evaluation.json"), "\"images\": 200", "\"images\": 201");
    unbraid(folder.path(), "report run/model --metrics mutual-information --samples 200 -o other.html").succeeds();
    assert!(!fs::read_to_string(folder.path().join("other.html")).unwrap().contains("<td>irs</td>"));
}

#[test]
fn what_cannot_be_shown_is_refused() {
    let folder = small_run();
    for (line, code, words) in [
        ("nowhere", 1, ["nowhere: expected the folder of a run", "model directory"]),
        ("run/model", 1, ["run/model: this is a model directory", "-o"]),
        ("run --metrics best", 2, ["metrics = best", "factor-vae"]),
        ("run --samples 1", 2, ["samples = 1", "at least 2"]),
        ("run --dataset faces", 2, ["dataset = faces", "sprites"]),
        ("run -o run/config.toml", 1, ["run/config.toml: exists already", "--force"]),
    ] {
        refused(&folder, &format!("report {line}"), code, &words);
    }
    let metrics = folder.path().join("run/metrics.jsonl");
    let whole = fs::read(&metrics).unwrap();
    edit(&metrics, |bytes| bytes.truncate(bytes.len() - 20));
    refused(&folder, "report run", 1, &["run/metrics.jsonl: line 3: found {\"step\":6", "a step and its loss terms"]);
    fs::write(&metrics, whole).unwrap();
    fs::write(folder.path().join("run/model/model.int8.safetensors"), "no model").unwrap();
    refused(&folder, "report run", 1, &["run/model/model.int8.safetensors", "expected an int8 file, whole"]);
    fs::remove_dir_all(folder.path().join("run/model")).unwrap();
    refused(&folder, "report run", 1, &["run: the run has no model yet", "unbraid train --resume run"]);
}
