using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Testing;

/// <summary>An injector that makes the n-th fallible point fail that its thread passes.</summary>
/// <param name="step">Which one, from 1.</param>
/// <param name="error">With what.</param>
/// <param name="kinds">Which points count; null for those that every implementation lets fail.</param>
/// <param name="andAllAfter">Whether every later one fails as well.</param>
public sealed class FailAtStep(int step, Errno error, IReadOnlySet<InjectionKind>? kinds = null, bool andAllAfter = false) : IInjector
{
    private static readonly HashSet<InjectionKind> s_fallible =
        [InjectionKind.Allocate, InjectionKind.QueueSpace, InjectionKind.Pin];

    /// <summary>Fallible points passed so far.</summary>
    public int Passed { get; private set; }

    /// <summary>Whether the point was reached and failed.</summary>
    public bool Failed => Passed >= step;

    /// <inheritdoc/>
    public Errno OnPoint(InjectionKind kind)
    {
        if (!(kinds ?? s_fallible).Contains(kind))
        {
            return Errno.Success;
        }

        Passed++;
        return Passed == step || (andAllAfter && Passed > step) ? error : Errno.Success;
    }
}

/// <summary>Makes an operation fail at its first step, then at its second, and so on until it has no more (invariant 3).</summary>
public static class FailAtEveryStep
{
    private const int Limit = 10_000;

    /// <summary>Runs the operation in a fresh state for each step.</summary>
    /// <param name="setUp">Makes the state, without failures.</param>
    /// <param name="operation">What is under test.</param>
    /// <param name="audit">
    /// Throws if something was left behind. Gets the state, the result, and the step that failed, 0 in the last run in
    /// which none did. An operation may succeed in spite of a failed step; it then must have done all of its work.
    /// </param>
    /// <param name="error">With what the steps fail.</param>
    /// <param name="kinds">Which points count; null for those that every implementation lets fail.</param>
    /// <param name="andAllAfter">Whether everything fails from the step on, instead of the step alone.</param>
    /// <returns>The number of steps that can fail: a test should know that it is not 0.</returns>
    public static int Run<T>(
        Func<T> setUp,
        Func<T, Errno> operation,
        Action<T, Errno, int> audit,
        Errno error = Errno.OutOfMemory,
        IReadOnlySet<InjectionKind>? kinds = null,
        bool andAllAfter = false)
    {
        ArgumentNullException.ThrowIfNull(setUp);
        ArgumentNullException.ThrowIfNull(operation);
        ArgumentNullException.ThrowIfNull(audit);
        if (!Injection.IsSupported)
        {
            throw new InvalidOperationException("The injection seam is switched off (Ioasis.Injection).");
        }

        for (int step = 1; step < Limit; step++)
        {
            T state = setUp();
            FailAtStep injector = new(step, error, kinds, andAllAfter);
            IInjector? before = Injection.Current;
            Injection.Current = injector;
            Errno result;
            try
            {
                result = operation(state);
            }
            finally
            {
                Injection.Current = before;
            }

            audit(state, result, injector.Failed ? step : 0);
            (state as IDisposable)?.Dispose();
            if (!injector.Failed)
            {
                return step - 1;
            }
        }

        throw new InvalidOperationException($"The operation still has steps after {Limit}.");
    }
}
