//! What a client can read: the `Accept` header, as far as this API answers it.

/// The media types a client accepts, most wanted first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Accept {
    ranges: Vec<Range>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Range {
    media_type: String,
    /// `as`, `v`, `g` and the like, in lower case.
    parameters: Vec<(String, String)>,
}

/// How objects are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    Whole,
    /// `meta.k8s.io/v1` Table: what `kubectl get` prints.
    Table,
    /// Only `apiVersion`, `kind` and `metadata`.
    Metadata,
}

impl Accept {
    pub fn parse(header: &str) -> Self {
        let mut ranges: Vec<(f32, Range)> = header.split(',').filter(|text| !text.trim().is_empty()).map(range).collect();
        // Stable: equal weights keep the client's order.
        ranges.sort_by(|left, right| right.0.total_cmp(&left.0));
        Accept { ranges: ranges.into_iter().filter(|(weight, _)| *weight > 0.0).map(|(_, range)| range).collect() }
    }

    /// The view of objects; `None` when the client reads nothing that is served here.
    pub fn view(&self) -> Option<View> {
        if self.ranges.is_empty() {
            return Some(View::Whole);
        }
        self.ranges.iter().find_map(Range::view)
    }

    /// Whether the client prefers aggregated discovery of `apidiscovery.k8s.io/v2`.
    pub fn wants_aggregated_discovery(&self) -> bool {
        let wanted =
            |range: &&Range| range.is_json() && (range.parameters.is_empty() || range.is("apidiscovery.k8s.io", "v2", "APIGroupDiscoveryList"));
        self.ranges.iter().find(wanted).is_some_and(|range| !range.parameters.is_empty())
    }
}

impl Range {
    fn is_json(&self) -> bool {
        matches!(self.media_type.as_str(), "application/json" | "application/*" | "*/*")
    }

    fn view(&self) -> Option<View> {
        if !self.is_json() {
            return None;
        }
        match self.parameter("as") {
            None => Some(View::Whole),
            Some(_) if self.is("meta.k8s.io", "v1", "Table") => Some(View::Table),
            Some(_) if self.is("meta.k8s.io", "v1", "PartialObjectMetadata") => Some(View::Metadata),
            Some(_) if self.is("meta.k8s.io", "v1", "PartialObjectMetadataList") => Some(View::Metadata),
            Some(_) => None,
        }
    }

    fn is(&self, group: &str, version: &str, kind: &str) -> bool {
        (self.parameter("g"), self.parameter("v"), self.parameter("as")) == (Some(group), Some(version), Some(kind))
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

fn range(text: &str) -> (f32, Range) {
    let mut parts = text.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
    let mut weight = 1.0;
    let mut parameters = Vec::new();
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        match name.trim().to_ascii_lowercase().as_str() {
            "q" => weight = value.trim().parse().unwrap_or(0.0),
            "charset" | "stream" | "pretty" => {}
            name => parameters.push((name.to_owned(), value.trim().trim_matches('"').to_owned())),
        }
    }
    (weight, Range { media_type, parameters })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_thing_that_is_served_is_taken() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        for (header, want) in [
            ("", Some(View::Whole)),
            ("*/*", Some(View::Whole)),
            ("application/json", Some(View::Whole)),
            (table, Some(View::Table)),
            ("application/json;as=Table;v=v1beta1;g=meta.k8s.io, application/json", Some(View::Whole)),
            ("application/json;q=0.1, application/json;as=Table;v=v1;g=meta.k8s.io", Some(View::Table)),
            ("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", Some(View::Metadata)),
            ("application/vnd.kubernetes.protobuf,application/json", Some(View::Whole)),
            ("application/vnd.kubernetes.protobuf", None),
            ("application/json;q=0", Some(View::Whole)),
        ] {
            assert_eq!(Accept::parse(header).view(), want, "{header}");
        }
    }

    #[test]
    fn discovery_is_aggregated_for_those_who_can_read_it() {
        let kubectl = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
        assert!(Accept::parse(kubectl).wants_aggregated_discovery());
        assert!(!Accept::parse("application/json").wants_aggregated_discovery());
        assert!(
            !Accept::parse("application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json").wants_aggregated_discovery()
        );
    }
}
