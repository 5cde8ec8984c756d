//! The float parameters of a module as a list, in the order in which the module is visited.

use std::any::Any;
use std::collections::VecDeque;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Tensor;

/// A module's float parameters, each of its own rank.
#[derive(Default)]
pub struct Parameters {
    tensors: VecDeque<Box<dyn Any>>,
}

impl Parameters {
    /// The parameters of `module`, in the order of its traversal.
    pub fn of<M: Module>(module: &M) -> Self {
        let mut parameters = Self::default();
        module.visit(&mut parameters);
        parameters
    }

    /// The next parameter; the list was made by a module of the same structure.
    pub(crate) fn next<const D: usize>(&mut self) -> Tensor<D> {
        let tensor = self.tensors.pop_front().expect("as many parameters as the module has");
        *tensor.downcast().expect("a parameter of the module's rank")
    }

    pub(crate) fn push<const D: usize>(&mut self, tensor: Tensor<D>) {
        self.tensors.push_back(Box::new(tensor));
    }
}

impl ModuleVisitor for Parameters {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.push(param.val());
    }
}

/// A rule that makes one tensor of two.
pub(crate) trait Combine {
    /// The new value of a parameter from its own and the other module's.
    fn combine<const D: usize>(&self, own: Tensor<D>, other: Tensor<D>) -> Tensor<D>;
}

struct Combining<C> {
    rule: C,
    others: Parameters,
}

impl<C: Combine> ModuleMapper for Combining<C> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, own, mapper) = param.consume();
        let value = self.rule.combine(own, self.others.next());
        Param::from_mapped_value(id, value, mapper)
    }
}

/// `own` with every parameter replaced by `rule(own, other)`.
pub(crate) fn combine<M: Module>(own: M, others: Parameters, rule: impl Combine) -> M {
    own.map(&mut Combining { rule, others })
}

/// The second argument: `combine(own, others, Replace)` puts other values into a module's places.
pub(crate) struct Replace;

impl Combine for Replace {
    fn combine<const D: usize>(&self, _own: Tensor<D>, other: Tensor<D>) -> Tensor<D> {
        other
    }
}
