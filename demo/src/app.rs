//! Which service a process is, and how it starts. The parts of the bookstore differ only in what `route` answers.

use crate::trouble::Faults;
use crate::{books, client::Upstreams, details, productpage, ratings, reviews, server, store};
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
    /// A catalogue on the internet, for what stands outside of the mesh.
    Books,
}

impl Role {
    pub const ALL: [Self; 6] = [Self::ProductPage, Self::Details, Self::Reviews, Self::Ratings, Self::Store, Self::Books];

    pub fn name(self) -> &'static str {
        match self {
            Self::ProductPage => "productpage",
            Self::Details => "details",
            Self::Reviews => "reviews",
            Self::Ratings => "ratings",
            Self::Store => "store",
            Self::Books => "books",
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
    pub faults: Faults,
}

impl App {
    /// Reads what it needs of its surroundings the way any application does: `HTTP_PROXY`, `STORE_ADDRESS` and `BOOKS`.
    pub fn from_environment(role: Role, version: &str, address: IpAddr, faults: Faults) -> Result<Self, String> {
        let upstreams = Upstreams::from_environment(role.name())?;
        Ok(Self { role, version: version.to_owned(), instance: format!("{}-{version}", role.name()), address, upstreams, faults })
    }

    /// Serves until the process is told to stop.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let app = Arc::new(self);
        let http = SocketAddr::new(app.address, HTTP_PORT);
        let work = async {
            match app.role {
                Role::Store => store::serve(SocketAddr::new(app.address, STORE_PORT), &app.faults).await,
                Role::Details => {
                    tokio::try_join!(server::http(http, details::Details::new(&app), &app.faults), details::serve_stock(&app)).map(|_| ())
                }
                Role::Reviews => server::http(http, reviews::Reviews::new(&app), &app.faults).await,
                Role::Ratings => server::http(http, ratings::Ratings::new(&app), &app.faults).await,
                Role::ProductPage => server::http(http, productpage::ProductPage::new(&app), &app.faults).await,
                Role::Books => server::http(http, books::Books::new(), &app.faults).await,
            }
        };
        tokio::select! {
            biased;
            () = stop => Ok(()),
            result = work => result,
        }
    }
}
