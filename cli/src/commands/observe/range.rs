//! Flags to the part of the kept flows that is asked for.

use jiff::Timestamp;
use pleopod_api::flow::FlowFilter;
use pleopod_api::observer::{GetFlowsRequest, GetFlowsResponse};

use crate::args::{self, Observe};
use crate::failure::{Failure, Result};

/// How many flows are shown when no flag says so.
const DEFAULT_LAST: u64 = 100;

/// The request for these flags.
pub fn request(flags: &Observe, whitelist: Vec<FlowFilter>, now: Timestamp) -> Result<GetFlowsRequest> {
    let range = &flags.range;
    let since = range.since.as_deref().map(|text| time("--since", text, now)).transpose()?;
    let until = range.until.as_deref().map(|text| time("--until", text, now)).transpose()?;
    if let (Some(since), Some(until)) = (since, until)
        && since > until
    {
        return Err(Failure::usage("--since is later than --until: no flow can be between them"));
    }
    let number = match (range.last, range.first) {
        (Some(0), _) | (_, Some(0)) if !flags.follow => {
            return Err(Failure::usage("--last and --first take a number from 1"));
        }
        (Some(n), _) | (_, Some(n)) => n,
        (None, None) if range.all || flags.follow || since.is_some() || until.is_some() => 0,
        (None, None) => DEFAULT_LAST,
    };
    // Without a number or start an observer follows from now on, so everything has to be asked for by its start.
    let since = if flags.follow && range.all { since.or(Some(Timestamp::UNIX_EPOCH)) } else { since };
    Ok(GetFlowsRequest {
        number,
        first: range.first.is_some(),
        follow: flags.follow,
        whitelist,
        since: since.map(stamp),
        until: until.map(stamp),
        ..Default::default()
    })
}

/// Of flows of several nodes in order of time, those the request is about.
pub fn cut(mut flows: Vec<GetFlowsResponse>, request: &GetFlowsRequest) -> Vec<GetFlowsResponse> {
    let number = usize::try_from(request.number).unwrap_or(usize::MAX);
    if number > 0 && flows.len() > number {
        if request.first {
            flows.truncate(number);
        } else {
            flows.drain(..flows.len() - number);
        }
    }
    flows
}

/// A point in time: a duration ago, a timestamp, or a date and time in local time.
fn time(flag: &str, text: &str, now: Timestamp) -> Result<Timestamp> {
    let local = || {
        let civil: jiff::civil::DateTime = text.parse().ok()?;
        civil.to_zoned(jiff::tz::TimeZone::system()).ok().map(|zoned| zoned.timestamp())
    };
    if let Ok(ago) = args::duration(text) {
        let ago = jiff::SignedDuration::try_from(ago).unwrap_or(jiff::SignedDuration::MAX);
        return Ok(now.saturating_sub(ago).unwrap_or(Timestamp::MIN));
    }
    text.parse().ok().or_else(local).ok_or_else(|| {
        Failure::usage(format!(
            "{flag} {text}: expected a duration such as 5m, or a time such as 2026-01-02T15:04:05Z"
        ))
    })
}

fn stamp(time: Timestamp) -> pleopod_api::Timestamp {
    pleopod_api::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::observe::Range;

    fn now() -> Timestamp {
        "2026-01-02T15:04:05Z".parse().unwrap()
    }

    fn ask(range: Range, follow: bool) -> Result<GetFlowsRequest> {
        request(&Observe { range, follow, ..Default::default() }, Vec::new(), now())
    }

    #[test]
    fn the_latest_flows_are_the_default() {
        assert_eq!(ask(Range::default(), false).unwrap().number, DEFAULT_LAST);
        assert_eq!(ask(Range { all: true, ..Default::default() }, false).unwrap().number, 0);
        assert_eq!(ask(Range { last: Some(5), ..Default::default() }, true).unwrap().number, 5);
        let first = ask(Range { first: Some(3), ..Default::default() }, false).unwrap();
        assert!(first.first && first.number == 3);
        assert!(ask(Range { last: Some(0), ..Default::default() }, false).is_err());
    }

    #[test]
    fn following_starts_now_or_with_everything() {
        let now_on = ask(Range::default(), true).unwrap();
        assert_eq!((now_on.number, now_on.since), (0, None));
        let all = ask(Range { all: true, ..Default::default() }, true).unwrap();
        assert_eq!((all.number, all.since.unwrap().seconds), (0, 0));
    }

    #[test]
    fn since_takes_durations_and_times() {
        let since = |text: &str| ask(Range { since: Some(text.into()), ..Default::default() }, false);
        assert_eq!(since("5m").unwrap().since.unwrap().seconds, now().as_second() - 300);
        assert_eq!(since("2026-01-02T15:00:00Z").unwrap().since.unwrap().seconds, now().as_second() - 245);
        assert!(matches!(since("yesterday-ish"), Err(Failure::Usage(_))));
    }
}
