//! Which images a lab knows, and what runs in their place.
//!
//! Nothing is pulled. A well-known name runs a built-in workload that behaves as the real image does, or a tool of the
//! machine; any other image needs a `command:`, which then runs with the machine's own programs.

use crate::workload::Workload;

/// What a container runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The command and its arguments.
    pub argv: Vec<String>,
    /// The first word is a built-in workload's.
    pub builtin: bool,
}

/// Why an image can't be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the lab pulls no images, and `{image}` is none of those it has built in ({known}); give the container a `command:` \
     to run a program of this machine"
)]
pub struct Unknown {
    image: String,
    known: String,
}

/// A known image: its entry point and what it runs when no arguments are given.
struct Known {
    names: &'static [&'static str],
    entrypoint: Start,
    arguments: &'static [&'static str],
}

/// What an image's entry point is.
#[derive(Clone, Copy)]
enum Start {
    Builtin(Workload),
    Program(&'static str),
    /// No entry point: the arguments are the command.
    Nothing,
}

const KNOWN: [Known; 11] = [
    Known {
        names: &["traefik/whoami", "containous/whoami"],
        entrypoint: Start::Builtin(Workload::Whoami),
        arguments: &[],
    },
    Known {
        names: &["nginx", "nginxinc/nginx-unprivileged"],
        entrypoint: Start::Builtin(Workload::Nginx),
        arguments: &[],
    },
    Known { names: &["pleopod/echo"], entrypoint: Start::Builtin(Workload::Echo), arguments: &[] },
    Known { names: &["pause"], entrypoint: Start::Builtin(Workload::Pause), arguments: &[] },
    Known {
        names: &["coredns/coredns", "coredns"],
        entrypoint: Start::Builtin(Workload::Dns),
        arguments: &[],
    },
    Known { names: &["nicolaka/netshoot"], entrypoint: Start::Nothing, arguments: &["bash"] },
    Known { names: &["busybox", "alpine"], entrypoint: Start::Nothing, arguments: &["sh"] },
    Known { names: &["debian", "ubuntu"], entrypoint: Start::Nothing, arguments: &["bash"] },
    Known { names: &["curlimages/curl"], entrypoint: Start::Program("curl"), arguments: &[] },
    Known { names: &["networkstatic/iperf3"], entrypoint: Start::Program("iperf3"), arguments: &[] },
    Known { names: &["alpine/socat"], entrypoint: Start::Program("socat"), arguments: &[] },
];

/// What a container with this image, `command` and `args` runs, by the rules of the Kubernetes API: `command` replaces
/// the image's entry point, `args` its default arguments.
///
/// # Errors
/// [`Unknown`] when the image isn't known and there is no `command`.
pub fn resolve(image: &str, command: &[String], args: &[String]) -> Result<Run, Unknown> {
    let known = KNOWN.iter().find(|known| known.names.contains(&short(image)));
    if !command.is_empty() {
        return Ok(Run { argv: [command, args].concat(), builtin: false });
    }
    let unknown = || Unknown {
        image: image.to_owned(),
        known: KNOWN.iter().map(|known| known.names[0]).collect::<Vec<_>>().join(", "),
    };
    let known = known.ok_or_else(unknown)?;
    let (mut argv, builtin) = match known.entrypoint {
        Start::Builtin(workload) => (vec![workload.program().to_owned()], true),
        Start::Program(program) => (vec![program.to_owned()], false),
        Start::Nothing => (Vec::new(), false),
    };
    if args.is_empty() {
        argv.extend(known.arguments.iter().map(|&argument| argument.to_owned()));
    } else {
        argv.extend_from_slice(args);
    }
    Ok(Run { argv, builtin })
}

/// An image's name without registry, `library/`, tag and digest.
fn short(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    let slash = image.rfind('/').map_or(0, |at| at + 1);
    let image = image[slash..].find(':').map_or(image, |colon| &image[..slash + colon]);
    let image = match image.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => rest,
        _ => image,
    };
    image.strip_prefix("library/").unwrap_or(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn names_lose_registry_tag_and_digest() {
        for (image, name) in [
            ("traefik/whoami", "traefik/whoami"),
            ("docker.io/traefik/whoami:v1.10", "traefik/whoami"),
            ("nginx:1.27-alpine@sha256:00", "nginx"),
            ("docker.io/library/busybox:latest", "busybox"),
            ("registry.k8s.io/coredns/coredns:v1.12.0", "coredns/coredns"),
            ("localhost:5000/nginx:1", "nginx"),
            ("registry.k8s.io/pause:3.10", "pause"),
        ] {
            assert_eq!(short(image), name, "{image}");
        }
    }

    #[test]
    fn command_replaces_the_entry_point_and_args_the_arguments() {
        let run = |image, command, args| resolve(image, &words(command), &words(args)).map(|run| run.argv);
        assert_eq!(run("nicolaka/netshoot", "tail", "-f /dev/null"), Ok(words("tail -f /dev/null")));
        assert_eq!(run("traefik/whoami", "", "--port 8080"), Ok(words("/whoami --port 8080")));
        assert_eq!(run("busybox", "", ""), Ok(words("sh")));
        assert_eq!(run("busybox", "", "sleep 5"), Ok(words("sleep 5")));
        assert_eq!(run("somebody/else:1", "sleep", "5"), Ok(words("sleep 5")));
        assert!(resolve("traefik/whoami:1", &[], &[]).is_ok_and(|run| run.builtin));
        let error = resolve("somebody/else:1", &[], &words("x")).expect_err("nothing to run").to_string();
        assert!(error.contains("somebody/else:1") && error.contains("traefik/whoami"), "{error}");
    }
}
