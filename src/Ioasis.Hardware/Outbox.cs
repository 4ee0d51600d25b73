using Ioasis.Platform;

namespace Ioasis.Hardware;

/// <summary>
/// What a model sends to the outside: interrupts and messages, in the order in which they arose, when no lock is held, so that the
/// receiver may come back with register accesses. Whoever finds no one delivering delivers all.
/// </summary>
/// <param name="registers">The lock under which items are posted.</param>
internal abstract class Outbox<T>(IoLock registers)
    where T : struct
{
    private readonly Queue<T> _items = new();
    private bool _delivering;
    private int _count;

    /// <summary>Adds an item, under the register lock.</summary>
    public void Post(in T item)
    {
        _items.Enqueue(item);
        Volatile.Write(ref _count, _items.Count);
    }

    /// <summary>Sends what there is, without any lock.</summary>
    public void Deliver()
    {
        if (Volatile.Read(ref _count) == 0)
        {
            return;
        }

        while (true)
        {
            T next;
            using (registers.Acquire())
            {
                if (_delivering || !_items.TryDequeue(out next))
                {
                    return;
                }

                _delivering = true;
            }

            try
            {
                Send(next);
            }
            finally
            {
                using (registers.Acquire())
                {
                    _delivering = false;
                    Volatile.Write(ref _count, _items.Count);
                }
            }
        }
    }

    /// <summary>Sends one item. No lock is held.</summary>
    protected abstract void Send(in T item);
}
