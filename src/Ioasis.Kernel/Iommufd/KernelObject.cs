using Ioasis.Platform;

namespace Ioasis.Kernel;

/// <summary>
/// An object of a <c>/dev/iommu</c> descriptor, by number. It is counted: once for its number in the table, once for each
/// object that builds on it, and once for each call that uses it. It goes when only its number is left and that is removed.
/// A call uses an object by <see cref="ObjectUse{T}"/>, which cannot be forgotten; an object that builds on others keeps them by
/// <see cref="Keep"/> until it is destroyed.
/// </summary>
internal abstract class KernelObject
{
    private int _users = 1;

    /// <summary>The number, 1 or more; 0 before it has one.</summary>
    public uint Id { get; set; }

    /// <summary>For tests and audits: how many users there are, the number in the table being one.</summary>
    internal int Users => Volatile.Read(ref _users);

    /// <summary>Adds a user, unless the object is going.</summary>
    public bool TryKeep()
    {
        int seen = Volatile.Read(ref _users);
        while (seen > 0)
        {
            int found = Interlocked.CompareExchange(ref _users, seen + 1, seen);
            if (found == seen)
            {
                return true;
            }

            seen = found;
        }

        return false;
    }

    /// <summary>Adds a user to an object that the caller uses already. <see cref="Release"/> takes it away.</summary>
    public void Keep() => Interlocked.Increment(ref _users);

    /// <summary>Takes away a user that <see cref="Keep"/> or <see cref="TryKeep"/> added.</summary>
    public void Release() => Interlocked.Decrement(ref _users);

    /// <summary>If only the table's user is left, takes that away too: nobody can use the object from now on.</summary>
    public bool TryKill() => Interlocked.CompareExchange(ref _users, 0, 1) == 1;

    /// <summary>As <see cref="TryKill"/>, but waits for calls that are just using the object.</summary>
    public void Kill()
    {
        while (!TryKill())
        {
            _ = Injection.Hit(InjectionKind.Wait);
            _ = Thread.Yield();
        }
    }

    /// <summary>The object is gone from the table and has no user: takes it down.</summary>
    public abstract void Destroy();
}
