package import Models
import Patterns
package import Tensors

/// Applies a recipe to the tensors of a model and remembers why.
package struct RecipeMatcher {
  package struct Decision: Sendable, Equatable {
    package let encoding: Encoding
    /// Which part of the recipe decided, in words: "default `experts`", "override 2 `lm_head`", "protected: router".
    package let decidedBy: String
    /// The solver that the rule asks for; nil where it leaves that to the options.
    package var solver: String?
    /// Whether a target decides.
    package var isByTarget = false
  }

  private let recipe: Recipe
  private let protectedRoles: Set<TensorRole>
  private let otherParts: String
  /// By name of a tensor, what a target has chosen.
  private let chosen: [String: Encoding]
  private let patterns: [SearchPattern]
  private var matches: [Int]
  private var protectedMatches: [Int]

  /// Patterns that name tensors to be left out.
  ///
  /// - Throws: ``RecipeError/drop(_:_:)``.
  static func drops(_ patterns: [String]) throws(RecipeError) -> [TensorDrop] {
    var drops: [TensorDrop] = []
    for pattern in patterns {
      let search: SearchPattern
      do throws(RegexError) { search = try SearchPattern(pattern) } catch { throw .drop(pattern, error) }
      drops.append(TensorDrop(pattern: pattern) { search.occurs(in: $0) })
    }
    return drops
  }

  /// - Parameters:
  ///   - protectedRoles: what keeps its precision.
  ///   - otherParts: what the tensors without a role are of, in words.
  /// - Throws: ``RecipeError/pattern(_:_:number:)``.
  package init(
    _ recipe: Recipe, protecting protectedRoles: Set<TensorRole>, passing otherParts: String,
    chosen: [String: Encoding] = [:]
  ) throws(RecipeError) {
    self.recipe = recipe
    self.protectedRoles = protectedRoles
    self.otherParts = otherParts
    self.chosen = chosen
    var patterns: [SearchPattern] = []
    for (index, rule) in recipe.overrides.enumerated() {
      do throws(RegexError) { patterns.append(try SearchPattern(rule.match)) } catch {
        throw .pattern(rule.match, error, number: index + 1)
      }
    }
    self.patterns = patterns
    matches = patterns.map { _ in 0 }
    protectedMatches = matches
  }

  /// Decides one tensor.
  ///
  /// - Parameter source: the encoding that the tensor has now; one with codes stays.
  /// - Throws: ``RecipeError/groupSize(tensor:columns:encoding:decidedBy:)``,
  ///   ``RecipeError/converts(tensor:from:to:decidedBy:)``, ``RecipeError/isQuantized(tensor:as:decidedBy:)``.
  package mutating func decide(_ tensor: StoredTensor, source: Encoding) throws(RecipeError) -> Decision {
    let protection: String? =
      if let role = tensor.role {
        protectedRoles.contains(role) ? "protected: \(role.rawValue)" : nil
      } else {
        "passed through: \(otherParts)"
      }
    var winner: Int?
    for (index, pattern) in patterns.enumerated() where pattern.occurs(in: tensor.name) {
      if protection != nil { protectedMatches[index] += 1 } else { matches[index] += 1 }
      winner = index
    }
    if let protection { return Decision(encoding: source, decidedBy: protection) }

    let choice: Recipe.Choice
    let decidedBy: String
    if let winner {
      choice = recipe.overrides[winner].choice
      decidedBy = "override \(winner + 1) `\(recipe.overrides[winner].match)`"
    } else {
      let isExpert = tensor.role == .expert
      choice = isExpert ? recipe.experts : recipe.rest
      decidedBy = isExpert ? "default `experts`" : "default `rest`"
    }
    guard !source.isGrouped else {
      let isDefault = winner == nil && choice == (tensor.role == .expert ? .standardExperts : .keep)
      guard isDefault || choice == .keep || choice == .encode(source) else {
        throw .isQuantized(tensor: tensor.name, as: source, decidedBy: decidedBy)
      }
      return Decision(encoding: source, decidedBy: "the source, which is quantized already")
    }
    if choice == .byTarget {
      // Until it is chosen, the least.
      let levels = PrecisionTarget.levels.filter { $0.divides(columns: tensor.shape.columns) }
      guard let encoding = chosen[tensor.name] ?? levels.first else {
        throw .groupSize(
          tensor: tensor.name, columns: tensor.shape.columns, encoding: PrecisionTarget.levels[0],
          decidedBy: decidedBy)
      }
      return Decision(encoding: encoding, decidedBy: "the target", isByTarget: true)
    }
    guard case .encode(let encoding) = choice else { return Decision(encoding: source, decidedBy: decidedBy) }
    guard encoding.isGrouped || encoding == source else {
      throw .converts(tensor: tensor.name, from: source, to: encoding, decidedBy: decidedBy)
    }
    guard encoding.divides(columns: tensor.shape.columns) else {
      throw .groupSize(
        tensor: tensor.name, columns: tensor.shape.columns, encoding: encoding, decidedBy: decidedBy)
    }
    return Decision(
      encoding: encoding, decidedBy: decidedBy, solver: winner.flatMap { recipe.overrides[$0].solver })
  }

  /// To be asked after all tensors were decided.
  ///
  /// - Throws: ``RecipeError/matchesNothing(pattern:number:protectedMatches:)``.
  package func requireAllUsed() throws(RecipeError) {
    for (index, rule) in recipe.overrides.enumerated() where !rule.isOptional && matches[index] == 0 {
      throw .matchesNothing(pattern: rule.match, number: index + 1, protectedMatches: protectedMatches[index])
    }
  }
}
