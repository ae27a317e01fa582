/// Makes two tests of each claim: `through_weir`, and `direct` as a check of the claim itself.
///
/// A claim is a function of a `&World`. Where the world must be special, a function that gives its
/// builder follows: `transparent!(with my_builder: claim, another_claim)`.
macro_rules! transparent {
    (with $builder:ident: $($claim:ident),+ $(,)?) => {
        $(mod $claim {
            #[test]
            fn through_weir() {
                super::$claim(&super::$builder().start());
            }

            #[test]
            fn direct() {
                super::$claim(&super::$builder().direct().start());
            }
        })+
    };
    ($($claim:ident),+ $(,)?) => {
        fn ordinary() -> weir_tests::world::Builder {
            weir_tests::World::builder()
        }

        transparent!(with ordinary: $($claim),+);
    };
}
pub(crate) use transparent;
