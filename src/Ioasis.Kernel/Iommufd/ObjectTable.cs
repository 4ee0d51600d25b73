using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <summary>
/// The objects of one descriptor by number, from 1, the lowest free first. <see cref="Use"/> is the one place where a
/// number becomes a referenced object (S1.4); it is an index, not a search (S1.2), and takes no lock.
/// </summary>
internal sealed class ObjectTable
{
    private readonly IoLock _lock = new();
    private KernelObject?[] _objects = new KernelObject?[16];
    private uint _hint = 1;
    private int _count;

    /// <summary>How many objects there are.</summary>
    public int Count => Volatile.Read(ref _count);

    /// <summary>Gives an object a number and makes it visible.</summary>
    public Errno Add(KernelObject added)
    {
        if (Injection.Hit(InjectionKind.Allocate) != Errno.Success)
        {
            return Errno.OutOfMemory;
        }

        using (_lock.Acquire())
        {
            uint id = _hint;
            while (id < (uint)_objects.Length && _objects[id] is not null)
            {
                id++;
            }

            if (id == (uint)_objects.Length)
            {
                KernelObject?[] larger = new KernelObject?[_objects.Length * 2];
                _objects.CopyTo(larger);
                Volatile.Write(ref _objects, larger);
            }

            added.Id = id;
            Volatile.Write(ref _objects[id], added);
            _hint = id + 1;
            _count++;
            return Errno.Success;
        }
    }

    /// <summary>Finds an object of a kind and uses it for as long as the scope of what is returned.</summary>
    /// <param name="id">Its number.</param>
    /// <param name="error">
    /// Success, or <see cref="Errno.NoEntry"/>: there is none, it is of another kind, or it is going. Then nothing is used.
    /// </param>
    public ObjectUse<T> Use<T>(uint id, out Errno error)
        where T : KernelObject
    {
        KernelObject?[] objects = Volatile.Read(ref _objects);
        ObjectUse<T> use = new(id < (uint)objects.Length ? Volatile.Read(ref objects[id]) as T : null);
        error = use.IsPresent ? Errno.Success : Errno.NoEntry;
        return use;
    }

    /// <summary>Uses every object of a kind that is not going, in the order of their numbers.</summary>
    public ObjectUses<T> UseAll<T>()
        where T : KernelObject
    {
        using (_lock.Acquire())
        {
            return new([.. _objects.OfType<T>().Where(static found => found.TryKeep())]);
        }
    }

    /// <summary>Destroys an object by number.</summary>
    /// <returns>Success; <see cref="Errno.NoEntry"/>; <see cref="Errno.Busy"/> while it has a user.</returns>
    public Errno Destroy(uint id)
    {
        KernelObject? going;
        using (_lock.Acquire())
        {
            going = id < (uint)_objects.Length ? _objects[id] : null;
            if (going is null or RetiredObject)
            {
                return Errno.NoEntry;
            }

            if (!going.TryKill())
            {
                return Errno.Busy;
            }

            Forget(going);
        }

        going.Destroy();
        return Errno.Success;
    }

    /// <summary>Destroys an object that the kernel holds, once no call uses it any more.</summary>
    public void DestroyAndWait(KernelObject going)
    {
        going.Kill();
        using (_lock.Acquire())
        {
            Forget(going);
        }

        going.Destroy();
    }

    /// <summary>Destroys an object that nobody asked to keep, if it has no user.</summary>
    public void DestroyIfUnused(KernelObject going)
    {
        using (_lock.Acquire())
        {
            if (going.Id == 0 || !going.TryKill())
            {
                return;
            }

            Forget(going);
        }

        going.Destroy();
    }

    /// <summary>
    /// Destroys an object that the kernel holds, once no call uses it any more; its number stays taken until everything
    /// goes, so that it never names something else. Harmless if somebody else has destroyed it.
    /// </summary>
    public void Bury(KernelObject going)
    {
        while (!going.TryKill())
        {
            if (going.Users == 0)
            {
                return;
            }

            _ = Injection.Hit(InjectionKind.Wait);
            _ = Thread.Yield();
        }

        using (_lock.Acquire())
        {
            Volatile.Write(ref _objects[going.Id], new RetiredObject { Id = going.Id });
        }

        going.Destroy();
    }

    /// <summary>
    /// Destroys an object that was added a moment ago and could not be completed. Somebody who guessed its number may have
    /// destroyed it already.
    /// </summary>
    public void Abandon(KernelObject going)
    {
        while (!going.TryKill())
        {
            if (going.Users == 0)
            {
                return;
            }

            _ = Injection.Hit(InjectionKind.Wait);
            _ = Thread.Yield();
        }

        using (_lock.Acquire())
        {
            Forget(going);
        }

        going.Destroy();
    }

    /// <summary>Destroys everything, what builds on others first.</summary>
    public void DestroyAll()
    {
        bool progress = true;
        while (progress && Count > 0)
        {
            progress = false;
            for (uint id = 1; id < (uint)_objects.Length; id++)
            {
                if (_objects[id] is { } going && going.TryKill())
                {
                    using (_lock.Acquire())
                    {
                        Forget(going);
                    }

                    going.Destroy();
                    progress = true;
                }
            }
        }
    }

    private void Forget(KernelObject gone)
    {
        Volatile.Write(ref _objects[gone.Id], null);
        _hint = Math.Min(_hint, gone.Id);
        _count--;
    }
}

/// <summary>Takes the place of an object that is gone and whose number shall not be used again.</summary>
internal sealed class RetiredObject : KernelObject
{
    /// <inheritdoc/>
    public override void Destroy()
    {
    }
}
