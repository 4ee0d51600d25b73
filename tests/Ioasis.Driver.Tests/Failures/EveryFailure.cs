using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Testing;

namespace Ioasis.Driver.Tests.Failures;

/// <summary>What fails, at the n-th step of a call, for every n until the call needs no more.</summary>
public enum Failure
{
    /// <summary>One allocation, or room in the queue.</summary>
    Resource,

    /// <summary>That and all that come after it.</summary>
    EveryResource,

    /// <summary>One write to the memory that driver and hardware share.</summary>
    Write,

    /// <summary>One read of it.</summary>
    Read,

    /// <summary>The IOMMU, which hears nothing from then on.</summary>
    Silence,

    /// <summary>The IOMMU, which stops with an error from then on.</summary>
    Errors,
}

/// <summary>What a call is tried on.</summary>
internal interface IFailureState : IDisposable
{
    /// <summary>The IOMMU is still out of order: nothing that it may use was given up.</summary>
    void ShouldHaveKept();
}

/// <summary>Fail at step n, the same for drivers of every kind of IOMMU.</summary>
internal static class EveryFailure
{
    /// <summary>Whether the IOMMU is what fails.</summary>
    public static bool IsOfIommu(this Failure failure) => failure is Failure.Silence or Failure.Errors;

    /// <summary>Whether a call that failed has left nothing behind: where only one step failed, and the IOMMU confirmed all.</summary>
    public static bool LeavesNothing(this Failure failure) => failure is Failure.Resource or Failure.Write or Failure.Read;

    /// <summary>Tries a call on a fresh state for each step.</summary>
    /// <param name="failure">What fails.</param>
    /// <param name="kind">The IOMMU.</param>
    /// <param name="setUp">Makes the state with the IOMMU that it is to have; null for one that always works.</param>
    /// <param name="call">What is tried.</param>
    /// <param name="audit">Throws if it is not all as the result says. Everything works again by then.</param>
    /// <returns>How many steps can fail.</returns>
    public static int Run<T>(Failure failure, IommuKind kind, Func<UnconfirmedIommu?, T> setUp, Func<T, Errno> call, Action<T, Errno> audit)
        where T : class, IFailureState
    {
        if (failure.IsOfIommu())
        {
            return UnconfirmedAtEveryCommand.Run(
                failure == Failure.Silence ? Trouble.Silence : Trouble.Errors,
                setUp,
                call,
                static (state, result, at) =>
                {
                    if (at == 0)
                    {
                        result.ShouldBe(Errno.Success);
                    }
                    else
                    {
                        result.ShouldBe(Errno.IoError, $"batch {at}");
                        state.ShouldHaveKept();
                    }
                },
                (state, result, _) => audit(state, result),
                kind == IommuKind.RiscV ? QueueRegisters.RiscV : QueueRegisters.Vtd);
        }

        HashSet<InjectionKind>? points = failure switch
        {
            Failure.Write => [InjectionKind.MemoryWrite],
            Failure.Read => [InjectionKind.MemoryRead],
            _ => null,
        };
        return FailAtEveryStep.Run(
            () => setUp(null),
            call,
            (state, result, step) =>
            {
                if (step == 0)
                {
                    result.ShouldBe(Errno.Success);
                }

                audit(state, result);
            },
            points is null ? Errno.OutOfMemory : Errno.IoError,
            points,
            failure == Failure.EveryResource);
    }
}
