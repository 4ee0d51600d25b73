using System.Runtime.InteropServices;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <summary>A descriptor of an event counter: <c>eventfd(2)</c>.</summary>
internal sealed class EventFile(uint value, EventFlags flags) : OpenFile
{
    /// <summary>The counter.</summary>
    public EventCounter Counter { get; } = new(value, (flags & EventFlags.Semaphore) != 0);

    /// <inheritdoc/>
    public override WaitQueue Waiters => Counter.Waiters;

    /// <inheritdoc/>
    public override Errno Read(Span<byte> destination, out int count)
    {
        count = 0;
        if (destination.Length < sizeof(ulong))
        {
            return Errno.InvalidArgument;
        }

        if (!Counter.TryTake(out ulong value))
        {
            if ((flags & EventFlags.NonBlocking) != 0)
            {
                return Errno.TryAgain;
            }

            using WaitQueue.Waiter waiter = new();
            waiter.Add(Waiters);
            while (!Counter.TryTake(out value))
            {
                Errno error = waiter.Wait(-1);
                if (error != Errno.Success)
                {
                    return error;
                }
            }
        }

        MemoryMarshal.Write(destination, value);
        count = sizeof(ulong);
        return Errno.Success;
    }

    /// <inheritdoc/>
    public override Errno Write(ReadOnlySpan<byte> source, out int count)
    {
        count = 0;
        if (source.Length < sizeof(ulong))
        {
            return Errno.InvalidArgument;
        }

        ulong added = MemoryMarshal.Read<ulong>(source);
        if (added == ulong.MaxValue)
        {
            return Errno.InvalidArgument;
        }

        if (!Counter.TryAdd(added))
        {
            if ((flags & EventFlags.NonBlocking) != 0)
            {
                return Errno.TryAgain;
            }

            using WaitQueue.Waiter waiter = new();
            waiter.Add(Waiters);
            while (!Counter.TryAdd(added))
            {
                Errno error = waiter.Wait(-1);
                if (error != Errno.Success)
                {
                    return error;
                }
            }
        }

        count = sizeof(ulong);
        return Errno.Success;
    }

    /// <inheritdoc/>
    public override PollEvents Poll() =>
        (Counter.CanTake ? PollEvents.In : 0)
        | (Counter.CanAdd ? PollEvents.Out : 0)
        | (Counter.HasOverflown ? PollEvents.Error : 0);

    /// <inheritdoc/>
    protected override void Release() => Counter.Close();
}
