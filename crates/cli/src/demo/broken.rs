//! `taut demo break` and `taut demo repair`: what is wrong with the processes of a demo that runs, by way of files that they watch.

use crate::output;
use crate::place::Place;
use crate::{Failure, Outcome};
use std::path::PathBuf;
use taut_demo::trouble::Trouble;

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  taut demo break ratings          every request to ratings fails; `taut incidents` says so
  taut demo break reviews slow     every answer takes 700 ms longer
  taut demo repair")]
pub struct Arguments {
    /// productpage, details, reviews, ratings or store
    service: String,
    #[arg(value_enum, default_value_t = How::Fail)]
    how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum How {
    /// Every request fails (500)
    Fail,
    /// Every answer takes 700 ms longer
    Slow,
    /// Nothing is answered any more
    Hang,
}

impl How {
    fn trouble(self) -> Trouble {
        let well = Trouble::default();
        match self {
            Self::Fail => Trouble { status: Some(500), ..well },
            Self::Slow => Trouble { delay_ms: 700, ..well },
            Self::Hang => Trouble { hang: true, ..well },
        }
    }

    fn told(self) -> &'static str {
        match self {
            Self::Fail => "fails every request",
            Self::Slow => "takes 700 ms longer for every answer",
            Self::Hang => "answers nothing any more",
        }
    }
}

/// Where a process of the demo reads what is wrong with it.
pub fn file(place: &Place, process: &str) -> PathBuf {
    place.state.join("faults").join(format!("{process}.json"))
}

/// A demo that starts is well.
pub fn prepare(place: &Place) -> Outcome {
    let directory = place.state.join("faults");
    let fresh = match std::fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => std::fs::create_dir_all(&directory),
    };
    fresh.map_err(|e| Failure::cannot(format!("cannot make {}: {e}", directory.display())))
}

/// `members`: each process' service and name.
pub fn break_service(place: &Place, what: &Arguments, members: impl Iterator<Item = (&'static str, String)>) -> Outcome {
    running(place)?;
    let (mut services, mut broken) = (Vec::new(), Vec::new());
    for (service, name) in members {
        if service == what.service {
            let file = file(place, &name);
            what.how.trouble().write(&file).map_err(|e| Failure::cannot(format!("cannot write {}: {e}", file.display())))?;
            broken.push(name);
        }
        if !services.contains(&service) {
            services.push(service);
        }
    }
    if broken.is_empty() {
        return Err(Failure::cannot(format!("the demo has no service {:?}: it has {}", what.service, services.join(", "))));
    }
    output::tell(&format!(
        "{} ({}) now {}. What the mesh says: `taut --state {} incidents`. To end it: `taut demo repair`",
        what.service,
        broken.join(", "),
        what.how.told(),
        place.state.display()
    ));
    Ok(())
}

pub fn repair(place: &Place, members: impl Iterator<Item = (&'static str, String)>) -> Outcome {
    running(place)?;
    for (_, name) in members {
        let file = file(place, &name);
        Trouble::end(&file).map_err(|e| Failure::cannot(format!("cannot remove {}: {e}", file.display())))?;
    }
    output::tell("every service of the demo is well again");
    Ok(())
}

fn running(place: &Place) -> Outcome {
    match place.state.join("faults").is_dir() {
        true => Ok(()),
        false => Err(Failure::cannot(format!("no demo has run with the state {}: start one with `taut demo`", place.state.display()))),
    }
}
