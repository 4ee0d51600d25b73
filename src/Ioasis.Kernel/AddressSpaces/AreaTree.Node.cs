namespace Ioasis.Kernel;

/// <content>A node: an array for each thing that is kept of an entry, so that a search touches only what it compares.</content>
internal sealed partial class AreaTree<T>
{
    private sealed class Node(bool isLeaf)
    {
        public readonly ulong[] Starts = new ulong[Fanout];
        public readonly ulong[] Lasts = new ulong[Fanout];

        // Of inner nodes.
        public readonly ulong[]? Holes = isLeaf ? null : new ulong[Fanout];
        public readonly Node[]? Children = isLeaf ? null : new Node[Fanout];

        // Of leaves.
        public readonly T?[]? Values = isLeaf ? new T?[Fanout] : null;

        public int Count;

        public int FirstWithLastAtLeast(ulong address)
        {
            int low = 0;
            int high = Count;
            while (low < high)
            {
                int middle = (low + high) >>> 1;
                if (Lasts[middle] < address)
                {
                    low = middle + 1;
                }
                else
                {
                    high = middle;
                }
            }

            return low;
        }

        public void Insert(int index, ulong start, ulong last, T value)
        {
            Shift(index);
            Array.Copy(Values!, index, Values!, index + 1, Count - index);
            Starts[index] = start;
            Lasts[index] = last;
            Values![index] = value;
            Count++;
        }

        public void Insert(int index, Node child)
        {
            Shift(index);
            Array.Copy(Holes!, index, Holes!, index + 1, Count - index);
            Array.Copy(Children!, index, Children!, index + 1, Count - index);
            Children![index] = child;
            Count++;
            Refresh(index);
        }

        public void RemoveAt(int index)
        {
            Count--;
            Array.Copy(Starts, index + 1, Starts, index, Count - index);
            Array.Copy(Lasts, index + 1, Lasts, index, Count - index);
            if (Children is null)
            {
                Array.Copy(Values!, index + 1, Values!, index, Count - index);
                Values![Count] = null;
            }
            else
            {
                Array.Copy(Holes!, index + 1, Holes!, index, Count - index);
                Array.Copy(Children, index + 1, Children, index, Count - index);
                Children[Count] = null!;
            }
        }

        public void Append(Node source, int from)
        {
            int count = source.Count - from;
            Array.Copy(source.Starts, from, Starts, Count, count);
            Array.Copy(source.Lasts, from, Lasts, Count, count);
            if (Children is null)
            {
                Array.Copy(source.Values!, from, Values!, Count, count);
            }
            else
            {
                Array.Copy(source.Holes!, from, Holes!, Count, count);
                Array.Copy(source.Children!, from, Children, Count, count);
            }

            Count += count;
        }

        public void Truncate(int count)
        {
            if (Children is null)
            {
                Array.Clear(Values!, count, Count - count);
            }
            else
            {
                Array.Clear(Children, count, Count - count);
            }

            Count = count;
        }

        public void Refresh(int index)
        {
            Node child = Children![index];
            Starts[index] = child.Starts[0];
            Lasts[index] = child.Lasts[child.Count - 1];
            Holes![index] = child.LargestHole();
        }

        public ulong LargestHole()
        {
            ulong largest = 0;
            for (int i = 1; i < Count; i++)
            {
                largest = Math.Max(largest, Starts[i] - Lasts[i - 1] - 1);
            }

            if (Children is not null)
            {
                for (int i = 0; i < Count; i++)
                {
                    largest = Math.Max(largest, Holes![i]);
                }
            }

            return largest;
        }

        private void Shift(int index)
        {
            Array.Copy(Starts, index, Starts, index + 1, Count - index);
            Array.Copy(Lasts, index, Lasts, index + 1, Count - index);
        }
    }
}
