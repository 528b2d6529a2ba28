//! Which service a process is, and how it starts. The parts of the bookstore differ only in what `route` answers.

use crate::{client::Upstreams, details, productpage, ratings, reviews, server, store};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

pub const HTTP_PORT: u16 = 9080;
pub const GRPC_PORT: u16 = 9090;
pub const STORE_PORT: u16 = 7000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    ProductPage,
    Details,
    Reviews,
    Ratings,
    Store,
}

impl Role {
    pub const ALL: [Self; 5] = [Self::ProductPage, Self::Details, Self::Reviews, Self::Ratings, Self::Store];

    pub fn name(self) -> &'static str {
        match self {
            Self::ProductPage => "productpage",
            Self::Details => "details",
            Self::Reviews => "reviews",
            Self::Ratings => "ratings",
            Self::Store => "store",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// One process of the bookstore.
#[derive(Clone, Debug)]
pub struct App {
    pub role: Role,
    /// `v1`, `v2`, `v3`.
    pub version: String,
    /// Name of this instance, shown in answers.
    pub instance: String,
    /// Where it listens, on the ports above.
    pub address: IpAddr,
    pub upstreams: Upstreams,
}

impl App {
    /// Reads what it needs of its surroundings the way any application does: `HTTP_PROXY` and `STORE_ADDRESS`.
    pub fn from_environment(role: Role, version: &str, address: IpAddr) -> Result<Self, String> {
        let upstreams = Upstreams::from_environment()?;
        Ok(Self { role, version: version.to_owned(), instance: format!("{}-{version}", role.name()), address, upstreams })
    }

    /// Serves until the process is told to stop.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let app = Arc::new(self);
        let http = SocketAddr::new(app.address, HTTP_PORT);
        let work = async {
            match app.role {
                Role::Store => store::serve(SocketAddr::new(app.address, STORE_PORT)).await,
                Role::Details => tokio::try_join!(server::http(http, details::Details::new(&app)), details::serve_stock(&app)).map(|_| ()),
                Role::Reviews => server::http(http, reviews::Reviews::new(&app)).await,
                Role::Ratings => server::http(http, ratings::Ratings::new(&app)).await,
                Role::ProductPage => server::http(http, productpage::ProductPage::new(&app)).await,
            }
        };
        tokio::select! {
            biased;
            () = stop => Ok(()),
            result = work => result,
        }
    }
}
