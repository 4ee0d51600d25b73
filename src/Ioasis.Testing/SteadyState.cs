namespace Ioasis.Testing;

/// <summary>What code that has run before costs in managed memory.</summary>
public static class SteadyState
{
    private const int WarmUps = 2;

    private const int Measurements = 5;

    /// <summary>
    /// Runs <paramref name="run"/> two times to warm up and up to five times to measure, and returns the smallest number of bytes that this
    /// thread allocated in one of them.
    /// </summary>
    /// <remarks>
    /// The smallest, because the runtime allocates on the calling thread now and then, when it replaces code or enters a path for the first time
    /// (for instance the first lock that is waited for); what the code itself allocates is there every time. Do the work many times in one run, so
    /// that memory which is allocated only now and then shows in each.
    /// </remarks>
    /// <param name="run">What to measure. It must leave the state as it found it.</param>
    /// <returns>Bytes of managed memory; 0 if one run allocated nothing.</returns>
    public static long AllocatedBytes(Action run)
    {
        ArgumentNullException.ThrowIfNull(run);
        for (int i = 0; i < WarmUps; i++)
        {
            run();
        }

        long least = long.MaxValue;
        for (int i = 0; i < Measurements && least > 0; i++)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            run();
            least = Math.Min(least, GC.GetAllocatedBytesForCurrentThread() - before);
        }

        return least;
    }
}
