//! `taut bookstore`: one process of the demo, started by `taut demo` (or by hand).

use crate::run::stop_signal;
use crate::{Failure, Outcome};
use std::net::IpAddr;
use std::path::PathBuf;
use taut_demo::app::{App, Role};
use taut_demo::trouble::Faults;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// productpage, details, reviews, ratings or store; or books, a catalogue outside of the mesh
    #[arg(value_parser = |name: &str| Role::named(name).ok_or("one of productpage, details, reviews, ratings, store, books"))]
    role: Role,
    /// v1, v2 or v3
    #[arg(default_value = "v1", value_name = "VERSION")]
    release: String,
    /// Address to listen on: 9080 for HTTP, 9090 for gRPC, 7000 for the store
    #[arg(long, env = "TAUT_ADDRESS", default_value = "127.0.0.1")]
    address: IpAddr,
    /// File that says what is wrong with this process, as `taut demo break` writes it; watched. Without it nothing can be
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
}

pub async fn bookstore(arguments: Arguments) -> Outcome {
    let faults = arguments.faults.map_or_else(Faults::none, Faults::follow);
    let app = App::from_environment(arguments.role, &arguments.release, arguments.address, faults).map_err(Failure::cannot)?;
    app.serve(stop_signal()).await.map_err(|e| Failure::cannot(e.to_string()))
}
