//! Whole sessions with the adapter linked statically, so that sanitizers see both sides of the contract.

#[path = "../../../tests/session/scenario.rs"]
mod scenario;

use im_bridge_adapter_sim::Sim;

#[test]
fn whole_sessions_keep_the_contract_when_linked() {
    scenario::run(
        im_bridge_sdk::test::entry::<Sim>(),
        scenario::Plan::from_environment(20_000, 1_000),
    );
}
