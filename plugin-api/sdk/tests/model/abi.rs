//! Numbers of the model are those of the plugin contract.

use im_bridge_plugin_api::abi;
use im_bridge_sdk::model::{AccountState, Delivery, ErrorClass, NoiseClass, OrderScope, Origin};

/// `IMB_ORDER_NONE` without its prefix, as a word of the model.
fn words(all: &[(&str, impl Copy + Into<i64>)], prefix: &str) -> Vec<(String, i64)> {
    all.iter()
        .map(|(name, number)| {
            (
                name.strip_prefix(prefix).unwrap().to_lowercase(),
                (*number).into(),
            )
        })
        .collect()
}

macro_rules! numbers {
    ($abi:ident) => {
        abi::$abi::ALL
            .iter()
            .map(|(name, value)| (*name, i64::from(value.0)))
            .collect::<Vec<_>>()
    };
}

#[test]
fn words_and_numbers_are_those_of_the_contract() {
    macro_rules! same {
        ($($set:ident = $abi:ident $prefix:literal)+) => {
            $(let model: Vec<(String, i64)> =
                $set::ALL.iter().map(|value| (value.to_string(), i64::from(value.number()))).collect();
            assert_eq!(model, words(&numbers!($abi), $prefix));)+
        };
    }
    same! {
        Origin = Origin "IMB_ORIGIN_"
        Delivery = Delivery "IMB_DELIVERY_"
        OrderScope = OrderScope "IMB_ORDER_"
        NoiseClass = Noise "IMB_NOISE_"
    }
}

#[test]
fn states_are_those_of_the_contract() {
    let model = AccountState::ALL
        .iter()
        .filter_map(|state| Some((state.to_string(), i64::from(state.abi()?))));
    let mut abi = words(&numbers!(State), "IMB_STATE_");
    assert_eq!(
        abi.pop(),
        Some(("panicked".to_owned(), 100)),
        "only the core hears of it"
    );
    assert_eq!(model.collect::<Vec<_>>(), abi);
}

#[test]
fn classes_are_the_statuses_that_say_why_something_failed() {
    let all = words(&numbers!(Status), "IMB_");
    let abi = all.into_iter().filter_map(|(word, number)| {
        let word = word.strip_prefix("e_")?.to_owned();
        (word != "panic" && word != "closed").then_some((word, number))
    });
    let model = ErrorClass::ALL
        .iter()
        .map(|class| (class.to_string(), i64::from(class.number())));
    assert_eq!(model.collect::<Vec<_>>(), abi.collect::<Vec<_>>());
}
