//! An aggregate as DataFusion runs it, made of a kernel: a small state per group and what is done to many at once.

use std::fmt::Debug;
use std::hash::Hash;
use std::marker::PhantomData;
use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, internal_err, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, DocSection, Documentation, EmitTo, GroupsAccumulator, Signature,
    Volatility,
};

/// An aggregate function as it is called.
pub(super) trait Aggregate: Debug + PartialEq + Eq + Hash + Send + Sync + 'static {
    /// What computes it.
    type Kernel: Kernel;
    /// Its name in SQL.
    const NAME: &'static str;
    /// How it is called.
    const USAGE: &'static str;
    /// What it is, in one line.
    const DESCRIPTION: &'static str;
    /// Other names.
    const ALIASES: &'static [&'static str] = &[];

    /// The types that arguments of these types are converted to.
    fn coerce(types: &[DataType]) -> Result<Vec<DataType>>;

    /// The type of the result.
    fn result_type(_types: &[DataType]) -> DataType {
        DataType::Float64
    }

    /// The columns of a partial state.
    fn state(types: &[DataType]) -> Vec<Field>;

    /// The kernel of a call.
    fn kernel(args: &AccumulatorArgs<'_>) -> Result<Self::Kernel>;

    /// What computes it over a frame whose start moves.
    fn sliding(args: &AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Single::new(Self::kernel(args)?)))
    }

    /// What computes it of rows that come in the order of their time and never leave.
    fn in_order(args: &AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Single::new(Self::kernel(args)?)))
    }
}

/// The arithmetic of an aggregate. Results depend on the set of rows only.
pub(super) trait Kernel: Debug + Send + Sync + 'static {
    /// The state of a group.
    type Group: Debug + Default + Send + Sync + 'static;
    /// Whether [`retract`](Self::retract) is there.
    const RETRACTS: bool = false;

    /// Adds rows; returns how many bytes the groups grew by on the heap.
    fn update(&self, groups: &mut [Self::Group], args: &[ArrayRef], rows: &Rows<'_>) -> Result<usize>;

    /// Adds partial states, one a row; returns how many bytes the groups grew by on the heap.
    fn merge(&self, groups: &mut [Self::Group], states: &[ArrayRef], rows: &Rows<'_>) -> Result<usize>;

    /// Takes rows away that were added.
    fn retract(&self, _group: &mut Self::Group, _args: &[ArrayRef]) -> Result<()> {
        internal_err!("a function that cannot take rows back was asked to")
    }

    /// The partial states.
    fn states(&self, groups: &mut [Self::Group]) -> Result<Vec<ArrayRef>>;

    /// The results. The groups stay as they are.
    fn results(&self, groups: &mut [Self::Group]) -> Result<ArrayRef>;

    /// Bytes of a group on the heap.
    fn heap_bytes(_group: &Self::Group) -> usize {
        0
    }
}

/// The rows of a batch that count, with the group of each.
pub(super) struct Rows<'a> {
    count: usize,
    groups: Option<&'a [usize]>,
    filter: Option<&'a BooleanArray>,
}

impl Rows<'_> {
    /// Index of the row, index of its group.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        (0..self.count)
            .filter(|row| self.filter.is_none_or(|filter| filter.is_valid(*row) && filter.value(*row)))
            .map(|row| (row, self.groups.map_or(0, |groups| groups[row])))
    }
}

/// What is known of the order in which an accumulator is given rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum RowOrder {
    /// Nothing.
    Any,
    /// They come in the order of their time, and are neither merged nor taken back.
    Time,
}

/// The aggregate as a function of a session.
pub(super) fn function<A: Aggregate>(rows: RowOrder) -> AggregateUDF {
    AggregateUDF::new_from_impl(Function::<A> {
        rows,
        signature: Signature::user_defined(Volatility::Immutable),
        aliases: A::ALIASES.iter().map(|alias| (*alias).to_owned()).collect(),
        documentation: documentation(A::DESCRIPTION, A::USAGE),
        aggregate: PhantomData,
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Function<A> {
    rows: RowOrder,
    signature: Signature,
    aliases: Vec<String>,
    documentation: Documentation,
    aggregate: PhantomData<A>,
}

/// As `SHOW FUNCTIONS` tells it.
pub(super) fn documentation(description: &str, usage: &str) -> Documentation {
    let section = DocSection { include: true, label: "Sensor Functions", description: None };
    Documentation::builder(section, description, usage).build()
}

impl<A: Aggregate> Function<A> {
    /// What would be passed over without a word is an error.
    fn refuse_distinct(args: &AccumulatorArgs<'_>) -> Result<()> {
        match args.is_distinct {
            true => plan_err!("{} does not take DISTINCT", A::NAME),
            false => Ok(()),
        }
    }
}

impl<A: Aggregate> AggregateUDFImpl for Function<A> {
    fn name(&self) -> &str {
        A::NAME
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        A::coerce(types)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(A::result_type(&A::coerce(types)?))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let types: Vec<DataType> = args.input_fields.iter().map(|field| field.data_type().clone()).collect();
        let fields = A::state(&types).into_iter();
        Ok(fields.map(|field| Arc::new(field.clone().with_name(format_state_name(args.name, field.name())))).collect())
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Self::refuse_distinct(&args)?;
        match self.rows {
            RowOrder::Any => Ok(Box::new(Single::new(A::kernel(&args)?))),
            RowOrder::Time => A::in_order(&args),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Self::refuse_distinct(&args)?;
        A::sliding(&args)
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs<'_>) -> bool {
        true
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        Self::refuse_distinct(&args)?;
        Ok(Box::new(Groups { kernel: Arc::new(A::kernel(&args)?), groups: Vec::new(), heap_bytes: 0 }))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// One group.
#[derive(Debug)]
pub(super) struct Single<K: Kernel> {
    kernel: K,
    group: [K::Group; 1],
}

impl<K: Kernel> Single<K> {
    pub(super) fn new(kernel: K) -> Self {
        Self { kernel, group: [K::Group::default()] }
    }
}

/// All rows of a batch, as one group's.
fn all(columns: &[ArrayRef]) -> Rows<'static> {
    Rows { count: columns.first().map_or(0, |column| column.len()), groups: None, filter: None }
}

impl<K: Kernel> Accumulator for Single<K> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.kernel.update(&mut self.group, values, &all(values)).map(|_| ())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.kernel.merge(&mut self.group, states, &all(states)).map(|_| ())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.kernel.retract(&mut self.group[0], values)
    }

    fn supports_retract_batch(&self) -> bool {
        K::RETRACTS
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let columns = self.kernel.states(&mut self.group)?;
        columns.iter().map(|column| ScalarValue::try_from_array(column, 0)).collect()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        ScalarValue::try_from_array(&self.kernel.results(&mut self.group)?, 0)
    }

    fn size(&self) -> usize {
        size_of::<Self>() + K::heap_bytes(&self.group[0])
    }
}

/// Many groups.
struct Groups<K: Kernel> {
    kernel: Arc<K>,
    groups: Vec<K::Group>,
    heap_bytes: usize,
}

impl<K: Kernel> Groups<K> {
    fn take(&mut self, emit_to: EmitTo) -> Vec<K::Group> {
        let taken = emit_to.take_needed(&mut self.groups);
        self.heap_bytes = match self.groups.is_empty() {
            true => 0,
            false => self.heap_bytes.saturating_sub(taken.iter().map(K::heap_bytes).sum()),
        };
        taken
    }
}

impl<K: Kernel> GroupsAccumulator for Groups<K> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        total_groups: usize,
    ) -> Result<()> {
        self.groups.resize_with(total_groups, K::Group::default);
        let rows = Rows { count: group_indices.len(), groups: Some(group_indices), filter };
        self.heap_bytes += self.kernel.update(&mut self.groups, values, &rows)?;
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef], group_indices: &[usize], total_groups: usize) -> Result<()> {
        self.groups.resize_with(total_groups, K::Group::default);
        let rows = Rows { count: group_indices.len(), groups: Some(group_indices), filter: None };
        self.heap_bytes += self.kernel.merge(&mut self.groups, states, &rows)?;
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let mut groups = self.take(emit_to);
        self.kernel.results(&mut groups)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let mut groups = self.take(emit_to);
        self.kernel.states(&mut groups)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let count = values.first().map_or(0, |column| column.len());
        let own: Vec<usize> = (0..count).collect();
        let mut groups = Self { kernel: Arc::clone(&self.kernel), groups: Vec::new(), heap_bytes: 0 };
        groups.update_batch(values, &own, filter, count)?;
        groups.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        self.groups.capacity() * size_of::<K::Group>() + self.heap_bytes
    }
}
