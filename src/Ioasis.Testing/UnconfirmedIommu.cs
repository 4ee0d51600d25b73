using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Testing;

/// <summary>How an IOMMU does not confirm.</summary>
public enum Trouble
{
    /// <summary>It hears nothing any more of what is written to its command queue's registers.</summary>
    Silence,

    /// <summary>It can be turned off and on, and reports a memory fault as soon as it is given a command.</summary>
    Errors,
}

/// <summary>
/// An IOMMU that stops to confirm: from the n-th doorbell of its command queue on it carries out nothing, until it is healed. What
/// caches it had it has still, and devices go on to use them: whoever takes an unconfirmed command for a confirmed one is found.
/// </summary>
/// <param name="trouble">How it stops.</param>
/// <param name="queue">Its queue; null for that of RISC-V.</param>
public sealed class UnconfirmedIommu(Trouble trouble, QueueRegisters? queue = null)
{
    private readonly QueueRegisters _queue = queue ?? QueueRegisters.RiscV;
    private long _failAt = long.MaxValue;

    /// <summary>Doorbells so far.</summary>
    public long Doorbells { get; private set; }

    /// <summary>Whether it has stopped.</summary>
    public bool HasStopped { get; private set; }

    /// <summary>
    /// A clock for the driver and whoever else waits: each look at it takes a millisecond, so that no wait takes longer than it must.
    /// </summary>
    public TimeProvider Time { get; } = new CreepingTime();

    /// <summary>Stops at the n-th doorbell from now, 1 for the next.</summary>
    public void StopAt(long n) => (_failAt, HasStopped) = (Doorbells + n, false);

    /// <summary>Carries out commands again, and lets so much time pass that the driver tries it.</summary>
    public void Heal()
    {
        (_failAt, HasStopped) = (long.MaxValue, false);
        ((CreepingTime)Time).Advance(TimeSpan.FromMinutes(1));
    }

    /// <summary>What the driver shall see of the registers.</summary>
    public IRegisterWindow Registers(IRegisterWindow inner) => new StoppingRegisters(this, inner, trouble, _queue);

    private sealed class StoppingRegisters(UnconfirmedIommu owner, IRegisterWindow inner, Trouble trouble, QueueRegisters queue)
        : RegisterDecorator(inner)
    {
        private bool _isFaulted;

        public override uint Read32(uint offset)
        {
            uint value = base.Read32(offset);
            return offset == queue.Status && _isFaulted && owner.HasStopped ? value | queue.ErrorBit : value;
        }

        public override void Write32(uint offset, uint value)
        {
            ulong heard = value;
            if (IsHeard(offset, ref heard))
            {
                base.Write32(offset, (uint)heard);
            }
        }

        public override void Write64(uint offset, ulong value)
        {
            if (IsHeard(offset, ref value))
            {
                base.Write64(offset, value);
            }
        }

        private bool IsHeard(uint offset, ref ulong value)
        {
            bool isDoorbell = offset == queue.Tail && value != 0;
            if (isDoorbell)
            {
                owner.Doorbells++;
                if (owner.Doorbells >= owner._failAt)
                {
                    owner.HasStopped = true;
                    _isFaulted = trouble == Trouble.Errors;
                }
            }

            if (!owner.HasStopped)
            {
                return true;
            }

            if (trouble == Trouble.Silence)
            {
                return queue.IsHeardInSilence(Inner, offset, ref value);
            }

            _isFaulted &= !queue.ClearsError(offset, value);
            return !isDoorbell;
        }
    }

    private sealed class CreepingTime : TimeProvider
    {
        private long _now;

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => Interlocked.Add(ref _now, TimeSpan.TicksPerMillisecond);

        public void Advance(TimeSpan by) => Interlocked.Add(ref _now, by.Ticks);
    }
}

/// <summary>
/// Lets an IOMMU stop at the first command of an operation, then at its second, and so on until it has no more: beside
/// <see cref="FailAtEveryStep"/>, the other thing that can happen at every step.
/// </summary>
public static class UnconfirmedAtEveryCommand
{
    private const int Limit = 1000;

    /// <summary>Runs the operation in a fresh state for each command.</summary>
    /// <param name="trouble">How the IOMMU stops.</param>
    /// <param name="setUp">Makes the state with an IOMMU that works.</param>
    /// <param name="operation">What is under test.</param>
    /// <param name="audit">
    /// Throws if something was given up that the hardware may use. Gets the state, the result, and the doorbell that was not heard,
    /// 0 in the last run in which all were. The IOMMU is still out of order.
    /// </param>
    /// <param name="healed">Throws if it is not all as it should be when the IOMMU works again.</param>
    /// <param name="queue">Its queue; null for that of RISC-V.</param>
    /// <returns>How many doorbells there were: a test should know that it is not 0.</returns>
    public static int Run<T>(
        Trouble trouble, Func<UnconfirmedIommu, T> setUp, Func<T, Errno> operation, Action<T, Errno, int> audit, Action<T, Errno, int> healed,
        QueueRegisters? queue = null)
    {
        ArgumentNullException.ThrowIfNull(setUp);
        ArgumentNullException.ThrowIfNull(operation);
        ArgumentNullException.ThrowIfNull(audit);
        ArgumentNullException.ThrowIfNull(healed);
        for (int n = 1; n < Limit; n++)
        {
            UnconfirmedIommu iommu = new(trouble, queue);
            T state = setUp(iommu);
            try
            {
                iommu.StopAt(n);
                Errno result = operation(state);
                int at = iommu.HasStopped ? n : 0;
                audit(state, result, at);
                iommu.Heal();
                healed(state, result, at);
                if (at == 0)
                {
                    return n - 1;
                }
            }
            finally
            {
                iommu.Heal();
                (state as IDisposable)?.Dispose();
            }
        }

        throw new InvalidOperationException($"The operation has more than {Limit} commands.");
    }
}
