//! `apply` and `get`, for those without kubectl.

use std::io::{Read, Write};

use anyhow::{Context, bail};
use kube::Client;
use pleopod_lab::cluster::access;
use pleopod_lab::manifest;
use serde_json::Value;

use super::args::{Apply, Get, Output};
use super::running;

/// Asks for the table kubectl prints.
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

async fn client(name: Option<&str>) -> anyhow::Result<Client> {
    let path = running(name)?.kubeconfig();
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("kubeconfig {}; is the lab still coming up?", path.display()))?;
    access::client(&text).await
}

pub async fn apply(name: Option<&str>, args: Apply) -> anyhow::Result<()> {
    let client = client(name).await?;
    let mut failed = 0;
    for file in &args.filename {
        let mut text = String::new();
        if file.as_os_str() == "-" {
            std::io::stdin().read_to_string(&mut text).context("standard input")?;
        } else {
            text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        }
        for object in manifest::documents(&text).with_context(|| file.display().to_string())? {
            match manifest::apply(&client, &object, args.namespace.as_deref()).await {
                Ok(line) => println!("{line}"),
                Err(error) => {
                    eprintln!("{}: {error:#}", file.display());
                    failed += 1;
                }
            }
        }
    }
    if failed > 0 {
        bail!("{failed} objects were not applied");
    }
    Ok(())
}

/// A kind of object as the server names it.
struct Kind {
    path: String,
    plural: String,
    namespaced: bool,
}

pub async fn get(name: Option<&str>, args: Get) -> anyhow::Result<()> {
    let client = client(name).await?;
    let kind = find_kind(&client, &args.kind).await?;
    let mut path = kind.path.clone();
    if kind.namespaced && !args.all_namespaces {
        path.push_str(&format!("/namespaces/{}", args.namespace));
    }
    path.push_str(&format!("/{}", kind.plural));
    if let Some(object) = &args.object {
        path.push_str(&format!("/{object}"));
    }
    if let Some(selector) = &args.selector {
        path.push_str(&format!("?labelSelector={}", escape(selector)));
    }
    match args.output {
        Some(Output::Json) => say(&format!("{:#}\n", fetch(&client, &path, "application/json").await?)),
        Some(Output::Yaml) => {
            say(&serde_saphyr::to_string(&fetch(&client, &path, "application/json").await?)?);
        }
        wide => {
            let table = fetch(&client, &path, TABLE).await?;
            let with_namespace = kind.namespaced && args.all_namespaces;
            let text = print_table(&table, wide == Some(Output::Wide), with_namespace);
            if text.lines().count() < 2 {
                let place = if with_namespace || !kind.namespaced {
                    String::new()
                } else {
                    format!(" in {} namespace", args.namespace)
                };
                eprintln!("No resources found{place}.");
            } else {
                say(&text);
            }
        }
    }
    Ok(())
}

/// Prints; a reader that has seen enough (`| head`) is no error.
fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

async fn fetch(client: &Client, path: &str, accept: &str) -> anyhow::Result<Value> {
    let request = hyper::Request::get(path).header("Accept", accept).body(Vec::new())?;
    match client.request::<Value>(request).await {
        Ok(value) => Ok(value),
        Err(kube::Error::Api(status)) => bail!("{}", status.message),
        Err(error) => Err(error.into()),
    }
}

/// Finds a kind by any of its names, in the core group first.
async fn find_kind(client: &Client, asked: &str) -> anyhow::Result<Kind> {
    let (asked, group) = asked.split_once('.').map_or((asked, None), |(name, group)| (name, Some(group)));
    let mut places = vec!["/api/v1".to_owned()];
    let groups = fetch(client, "/apis", "application/json").await?;
    for one in groups["groups"].as_array().into_iter().flatten() {
        if let Some(version) = one["preferredVersion"]["groupVersion"].as_str() {
            places.push(format!("/apis/{version}"));
        }
    }
    let asked = asked.to_lowercase();
    for place in places {
        let belongs = |group: &str| place.strip_prefix("/apis/").is_some_and(|rest| rest.starts_with(group));
        if group.is_some_and(|group| !belongs(group)) {
            continue;
        }
        let found = fetch(client, &place, "application/json").await?;
        for resource in found["resources"].as_array().into_iter().flatten() {
            let plural = resource["name"].as_str().unwrap_or_default();
            if plural.contains('/') {
                continue;
            }
            let also =
                ["singularName", "kind"].map(|key| resource[key].as_str().unwrap_or_default().to_lowercase());
            let short =
                resource["shortNames"].as_array().into_iter().flatten().any(|short| short == asked.as_str());
            if plural == asked || also.contains(&asked) || short {
                return Ok(Kind {
                    path: place,
                    plural: plural.to_owned(),
                    namespaced: resource["namespaced"] == true,
                });
            }
        }
    }
    bail!("the server has no kind {asked}")
}

/// The table as kubectl prints it: capitals, three spaces between columns.
fn print_table(table: &Value, wide: bool, with_namespace: bool) -> String {
    let columns = table["columnDefinitions"].as_array().cloned().unwrap_or_default();
    let shown: Vec<usize> =
        (0..columns.len()).filter(|&at| wide || columns[at]["priority"].as_i64().unwrap_or(0) == 0).collect();
    let mut lines: Vec<Vec<String>> = Vec::new();
    let mut head: Vec<String> =
        shown.iter().map(|&at| columns[at]["name"].as_str().unwrap_or_default().to_uppercase()).collect();
    if with_namespace {
        head.insert(0, "NAMESPACE".to_owned());
    }
    lines.push(head);
    for row in table["rows"].as_array().into_iter().flatten() {
        let cell = |at: usize| match &row["cells"][at] {
            Value::String(text) => text.clone(),
            Value::Null => "<none>".to_owned(),
            other => other.to_string(),
        };
        let mut line: Vec<String> = shown.iter().map(|&at| cell(at)).collect();
        if with_namespace {
            line.insert(0, row["object"]["metadata"]["namespace"].as_str().unwrap_or_default().to_owned());
        }
        lines.push(line);
    }
    let width = |at: usize| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    let mut out = String::new();
    for line in &lines {
        let cells: Vec<String> =
            line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        out.push_str(cells.join("   ").trim_end());
        out.push('\n');
    }
    out
}

/// Percent-encodes everything but what is safe in a query.
fn escape(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_printed_as_kubectl_does() {
        let table = serde_json::json!({
            "columnDefinitions": [{"name": "Name"}, {"name": "Ready"}, {"name": "IP", "priority": 1}],
            "rows": [
                {"cells": ["netpod", "1/1", "172.16.0.230"], "object": {"metadata": {"namespace": "default"}}},
                {"cells": ["w", null, "x"], "object": {"metadata": {"namespace": "kube-system"}}},
            ],
        });
        assert_eq!(print_table(&table, false, false), "NAME     READY\nnetpod   1/1\nw        <none>\n");
        assert_eq!(
            print_table(&table, true, true),
            "NAMESPACE     NAME     READY    IP\ndefault       netpod   1/1      172.16.0.230\n\
             kube-system   w        <none>   x\n"
        );
    }

    #[test]
    fn selectors_survive_a_query() {
        assert_eq!(escape("app in (a, b)"), "app%20in%20%28a%2C%20b%29");
    }
}
