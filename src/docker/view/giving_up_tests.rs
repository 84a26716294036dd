//! Questions that fail, and answers that cannot be read.

use super::tests::{ask, begin, listed, news, pair, row, tell, unanswered};
use super::*;
use crate::docker::container::ListRow;
use crate::model::container::Bindings;
use question::MAX_ATTEMPTS;

#[test]
fn a_question_that_keeps_failing_is_given_up_and_blocks_nobody() {
    let mut view = View::default();
    begin(&mut view);
    view.listed(vec![row("a", "a", true), row("b", "b", false)]);
    for failures in 1..MAX_ATTEMPTS {
        let question = ask(&mut view);
        let follow_up = view.answered(&question, Answer::Failed);
        assert_eq!(follow_up, FollowUp::Retry(failures));
        assert_eq!(view.next_question(), None);
        view.retry(&question);
        view.retry(&question);
    }
    let question = ask(&mut view);
    assert_eq!(view.answered(&question, Answer::Failed), FollowUp::GaveUp);
    let snapshot = view.take_news().expect("news");
    assert_eq!(snapshot.containers["a"].bindings, Bindings::Unknown);
    assert_eq!(unanswered(&view), [pair("a", "a")]);
    begin(&mut view);
    view.listed(vec![row("a", "a", true)]);
    let question = ask(&mut view);
    assert_eq!(question.id, "a", "a later list asks again");
    view.answered(&question, Answer::Unreadable("odd".into()));
    begin(&mut view);
    view.listed(Vec::new());
    assert_eq!(unanswered(&view), []);
}

#[test]
fn a_retry_of_a_container_that_died_meanwhile_is_void() {
    let mut view = listed(Vec::new());
    tell(&mut view, EventKind::Start, "a");
    let question = ask(&mut view);
    view.answered(&question, Answer::Failed);
    tell(&mut view, EventKind::Die, "a");
    view.retry(&question);
    assert_eq!(view.next_question(), None);
}

#[test]
fn a_row_or_an_answer_that_cannot_be_read_hides_no_other() {
    let mut view = View::default();
    begin(&mut view);
    let (id, container) = ("a".to_owned(), None);
    view.listed(vec![ListRow { id, container }, row("b", "b", false)]);
    let question = ask(&mut view);
    let follow_up = view.answered(&question, Answer::Unreadable("odd".into()));
    assert_eq!(follow_up, FollowUp::GaveUp);
    assert_eq!(news(&mut view), Some(vec![pair("b", "b")]));
}
