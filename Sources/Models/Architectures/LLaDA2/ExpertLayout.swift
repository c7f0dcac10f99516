import Tensors

/// How a checkpoint stores the experts of a layer (`model.layers.L.mlp.…`), with E experts of width M, hidden size H.
package enum ExpertLayout: String, Sendable, CaseIterable {
  /// `experts.E.{gate,up,down}_proj.weight`: the published one.
  case perExpert = "per-expert"
  /// `experts.{gate,up,down}_proj`, stacked [E, …]: dFactory's "merged".
  case merged
  /// The same with `.weight`.
  case mergedWeight = "merged-weight"
  /// `w1` [E, 2M, H] with gate rows first, `w2` [E, H, M]: dInfer on disk.
  case fused
  /// The same as `experts.w13_weight`, `experts.w2_weight`: dInfer in memory.
  case w13

  /// Where one projection of one expert is: the tensor's name and shape, and the first row counted over all its rows.
  ///
  /// - Parameters:
  ///   - layer: of the experts.
  ///   - part: the projection.
  func place(
    layer: Int, expert: Int, _ part: TensorPart, _ c: ModelConfiguration
  ) -> (name: String, shape: [Int], firstRow: Int) {
    let prefix = "model.layers.\(layer).mlp."
    let shape = LLaDA2.shape(part, hidden: c.hiddenSize, width: c.expertIntermediateSize)
    let stacked = [c.expertCount, shape.rows, shape.columns]
    switch self {
    case .perExpert:
      let id = TensorID(.expert, part, layer: layer, expert: expert)
      return (LLaDA2.names.name(of: id), shape.dimensions, 0)
    case .merged: return (prefix + "experts.\(part.rawValue)", stacked, expert * shape.rows)
    case .mergedWeight: return (prefix + "experts.\(part.rawValue).weight", stacked, expert * shape.rows)
    case .fused, .w13:
      let names = self == .fused ? ["w1", "w2"] : ["experts.w13_weight", "experts.w2_weight"]
      if part == .down { return (prefix + names[1], stacked, expert * shape.rows) }
      let both = [c.expertCount, 2 * shape.rows, shape.columns]
      return (prefix + names[0], both, (2 * expert + (part == .up ? 1 : 0)) * shape.rows)
    }
  }
}
