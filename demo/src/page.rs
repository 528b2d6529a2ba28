//! The HTML of the product page.

use http::StatusCode;
use serde_json::Value;

pub struct Page<'a> {
    pub user: &'a str,
    pub version: &'a str,
    pub details_status: StatusCode,
    pub details: Value,
    pub reviews_status: StatusCode,
    pub reviews: Value,
    pub stock: Result<Value, String>,
}

pub fn render(page: &Page<'_>) -> String {
    let user = match page.user {
        "" => "<form action=/login><input name=username placeholder='user name' aria-label='user name'> <button>Sign in</button></form>".to_owned(),
        user => format!("<p>Signed in as <b>{}</b> · <a href=/logout>sign out</a></p>", escape(user)),
    };
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'><title>The Comedy of Errors</title>\
         <style>{STYLE}</style><header><b>Tautline bookstore</b>{user}</header><main><h1>The Comedy of Errors</h1>\
         <p>Two pairs of twins, one day, and every mistake that can be made in it.</p>\
         <div class=parts><section><h2>Details</h2>{}</section><section><h2>Reviews</h2>{}</section></div></main>\
         <footer>productpage {} · every hop of this page went over mutual TLS</footer></html>",
        details(page),
        reviews(page),
        escape(page.version)
    )
}

fn details(page: &Page<'_>) -> String {
    let stock = match &page.stock {
        Ok(stock) => {
            format!("<dt>In stock</dt><dd>{} copies <small>(gRPC, details {})</small></dd>", text(&stock["copies"]), text(&stock["served_by"]))
        }
        Err(why) => format!("<dt>In stock</dt><dd class=bad>{}</dd>", escape(why)),
    };
    if !page.details_status.is_success() {
        return failed("details", page.details_status, &page.details) + &format!("<dl>{stock}</dl>");
    }
    let row = |title: &str, key: &str| format!("<dt>{title}</dt><dd>{}</dd>", text(&page.details[key]));
    let rows = [("Author", "author"), ("Year", "year"), ("Type", "type"), ("Pages", "pages"), ("Publisher", "publisher"), ("Served by", "served_by")];
    format!("<dl>{}{stock}</dl>", rows.map(|(title, key)| row(title, key)).concat())
}

fn reviews(page: &Page<'_>) -> String {
    if !page.reviews_status.is_success() {
        return failed("reviews", page.reviews_status, &page.reviews);
    }
    let one = |review: &Value| {
        let rating = &review["rating"];
        let stars = match (rating["stars"].as_u64(), rating["error"].as_str()) {
            (Some(stars), _) => {
                let (full, color) = (stars.min(5) as usize, if rating["color"] == "red" { "red" } else { "black" });
                format!("<span class={color} aria-label='{full} of 5 stars'>{}{}</span>", "★".repeat(full), "☆".repeat(5 - full))
            }
            (None, Some(error)) => format!("<span class=bad>{}: {}</span>", escape(error), text(&rating["why"])),
            (None, None) => String::new(),
        };
        format!("<blockquote><p>{}</p><cite>{}</cite> {stars}</blockquote>", text(&review["text"]), text(&review["reviewer"]))
    };
    let all: String = page.reviews["reviews"].as_array().into_iter().flatten().map(one).collect();
    format!("{all}<small>served by {} ({})</small>", text(&page.reviews["podname"]), text(&page.reviews["served_by"]))
}

fn failed(part: &str, status: StatusCode, value: &Value) -> String {
    format!("<p class=bad>The {part} are not available ({}).</p><pre>{}</pre>", status.as_u16(), text(&value["error"]))
}

fn text(value: &Value) -> String {
    match value {
        Value::String(s) => escape(s),
        Value::Null => String::new(),
        other => escape(&other.to_string()),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:0;color:#1c2430;background:#f6f7f9}\
header{display:flex;justify-content:space-between;align-items:center;padding:.6rem 1.5rem;background:#14324a;color:#fff}header a{color:#fff}header p{margin:0}\
main{max-width:60rem;margin:1.5rem auto;padding:0 1rem}.parts{display:grid;grid-template-columns:repeat(auto-fit,minmax(18rem,1fr));gap:1rem}\
section{background:#fff;border-radius:8px;padding:1rem 1.25rem;box-shadow:0 1px 3px #0002}h2{margin-top:0}dl{display:grid;grid-template-columns:7rem 1fr;gap:.25rem;margin:0}\
dt{color:#5b6776}dd{margin:0}blockquote{margin:0 0 1rem;padding-left:.8rem;border-left:3px solid #c8d2dc}blockquote p{margin:0}.red{color:#b3261e}.black{color:#111}\
.bad{color:#b3261e}pre{white-space:pre-wrap;background:#fbeeee;padding:.5rem;border-radius:4px}footer{text-align:center;color:#5b6776;padding:1rem}";

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn page(reviews: Value) -> Page<'static> {
        let (details, stock) = (json!({ "author": "W. <b>" }), Err("Unavailable: gone".to_owned()));
        Page { user: "", version: "v1", details_status: StatusCode::OK, details, reviews_status: StatusCode::OK, reviews, stock }
    }

    #[test]
    fn the_page_shows_stars_failures_and_no_markup_of_others() {
        let html = render(&page(json!({ "podname": "reviews-v3", "reviews": [
            { "reviewer": "R1", "text": "<script>", "rating": { "stars": 4, "color": "red" } },
            { "reviewer": "R2", "text": "ok", "rating": { "error": "Ratings service is currently unavailable", "why": "ratings answered 500" } } ] })));
        assert!(html.contains("★★★★☆") && html.contains("class=red"));
        assert!(html.contains("Ratings service is currently unavailable: ratings answered 500"));
        assert!(html.contains("W. &lt;b&gt;") && !html.contains("<script>"));
        assert!(html.contains("Unavailable: gone"));
    }
}
