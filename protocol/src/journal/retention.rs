//! Which switches may go: the newest stay, and nothing goes that the dashboard has not answered for.

use super::records::SwitchId;

/// How many switches stay at most, and how many of the other operations: a host that is pulled every few minutes must not
/// forget which generation it can go back to.
pub const MAX_SWITCHES: usize = 50;

/// How much disk they may take together, in bytes, beside the newest.
pub const MAX_BYTES: u64 = 200 * 1024 * 1024;

/// A switch as far as keeping it is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// The switch.
    pub id: SwitchId,
    /// Whether it was to activate a generation.
    pub activates: bool,
    /// What it takes on disk.
    pub bytes: u64,
    /// Whether the dashboard has taken or refused its result, so that nothing is lost with it.
    pub is_closed: bool,
}

/// The switches to remove, given all that there are. The newest always stays, and what it takes is no reason for another to go.
///
/// Of too many the oldest go. Where they are too large, the largest do: to make room for one with a long output, all that is
/// known of the generations before would have to go.
pub fn to_prune(all: &[Kept]) -> Vec<SwitchId> {
    let mut by_age = all.to_vec();
    by_age.sort_by_key(|kept| kept.id);
    let of_kind = |activates| all.iter().filter(|kept| kept.activates == activates).count();
    let (mut switches, mut others) = (of_kind(true), of_kind(false));
    by_age.pop();
    let (mut pruned, mut left) = (Vec::new(), Vec::new());
    for kept in by_age {
        let count = if kept.activates { &mut switches } else { &mut others };
        if kept.is_closed && *count > MAX_SWITCHES {
            *count -= 1;
            pruned.push(kept.id);
        } else {
            left.push(kept);
        }
    }
    let mut bytes: u64 = left.iter().map(|kept| kept.bytes).sum();
    // Of the same size the older one: this sort leaves them in their order.
    left.sort_by_key(|kept| std::cmp::Reverse(kept.bytes));
    for kept in left.into_iter().filter(|kept| kept.is_closed) {
        if bytes <= MAX_BYTES {
            break;
        }
        bytes -= kept.bytes;
        pruned.push(kept.id);
    }
    pruned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn switches(number: usize, bytes: u64, is_closed: bool) -> Vec<Kept> {
        let one = || Kept { id: SwitchId::generate(), activates: true, bytes, is_closed };
        (0..number).map(|_| one()).collect()
    }

    #[test]
    fn within_the_limits_all_stay() {
        assert_eq!(to_prune(&[]), []);
        assert_eq!(to_prune(&switches(MAX_SWITCHES, 1024, true)), []);
    }

    #[test]
    fn the_oldest_go_first() {
        let all = switches(MAX_SWITCHES + 3, 1, true);
        let expected: Vec<_> = all.iter().take(3).map(|kept| kept.id).collect();
        let mut shuffled = all;
        shuffled.reverse();
        assert_eq!(to_prune(&shuffled), expected);
    }

    #[test]
    fn what_was_not_reported_stays() {
        assert_eq!(to_prune(&switches(3 * MAX_SWITCHES, MAX_BYTES, false)), []);
        let mut all = switches(MAX_SWITCHES + 2, 1, true);
        all[0].is_closed = false;
        assert_eq!(to_prune(&all), [all[1].id, all[2].id]);
    }

    #[test]
    fn many_pulls_leave_the_switches_alone() {
        let mut all = switches(2 * MAX_SWITCHES, 1, true);
        for kept in all.iter_mut().skip(2) {
            kept.activates = false;
        }
        let expected: Vec<_> = all[2..].iter().take(MAX_SWITCHES - 2).map(|kept| kept.id).collect();
        assert_eq!(to_prune(&all), expected);
    }

    #[test]
    fn size_counts_too_but_the_newest_stays() {
        let all = switches(3, MAX_BYTES, true);
        assert_eq!(to_prune(&all), [all[0].id]);
        assert_eq!(to_prune(&all[1..]), []);
        assert_eq!(to_prune(&all[2..]), []);
    }

    #[test]
    fn one_with_a_long_output_goes_alone() {
        let mut all = switches(5, 1024, true);
        all[3].bytes = 2 * MAX_BYTES;
        assert_eq!(to_prune(&all[..4]), []);
        assert_eq!(to_prune(&all), [all[3].id]);
    }
}
